#ifndef ELA_MODEL_TRAIN_EVALUATION_H_
#define ELA_MODEL_TRAIN_EVALUATION_H_

#include <cstdint>
#include <limits>
#include <vector>

#include "model/reference/language_model.h"
#include "model/train/corpus.h"

namespace ela::train {

struct BitsPerByte {
  int64_t documents = 0, tokens = 0, bytes = 0;  // tokens that were predicted: all but each eos
  double bits = 0;                               // sum of −log2 p
  double value() const { return bytes > 0 ? bits / bytes : 0; }
};

// Each document from its eos as one sequence, however long; what a server says that scores the same
// tokens. Whole documents are taken in order until `max_tokens` are reached.
BitsPerByte Evaluate(const reference::LanguageModel& model, const std::vector<Document>& documents,
                     reference::Precision precision,
                     int64_t max_tokens = std::numeric_limits<int64_t>::max());

}  // namespace ela::train

#endif  // ELA_MODEL_TRAIN_EVALUATION_H_
