// A corpus: JSON lines {"id", "text"}, one document each, as token ids.
#ifndef ELA_MODEL_TRAIN_CORPUS_H_
#define ELA_MODEL_TRAIN_CORPUS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/tokenizer.h"

namespace ela::train {

struct Document {
  std::string id;
  std::vector<TokenId> tokens;  // eos, then the text's tokens
  int64_t num_bytes = 0;        // of the text in UTF-8, all of which count for bits per byte
};

// Tokenizes every line. `eos` opens each document. Special tokens in the text are plain text.
// Errors: kNotFound; kInvalidArgument with file and line number (not JSON, not UTF-8, no "text", or
// nothing in the whole file).
absl::StatusOr<std::vector<Document>> LoadCorpus(const std::string& path,
                                                 const Tokenizer& tokenizer, TokenId eos);

// The order in which a run sees its data: documents laid end to end, cut into windows of `context`
// + 1 tokens (neighbours share one token), the windows shuffled anew each epoch. Window r of step s
// is a function of the seed alone, so a resumed run needs no other state than its step.
class WindowOrder {
 public:
  // REQUIRES: at least one window, num_windows(documents, context) > 0.
  WindowOrder(const std::vector<Document>& documents, int64_t context, int64_t batch,
              uint64_t seed);
  static int64_t num_windows(const std::vector<Document>& documents, int64_t context);

  // The tokens of window `row` of the batch of `step`: context + 1 of them.
  const TokenId* Window(int64_t step, int64_t row);

  int64_t num_tokens() const { return static_cast<int64_t>(stream_.size()); }
  uint64_t Digest() const;  // of the stream: another corpus or tokenizer gives another

 private:
  const int64_t context_, batch_;
  const uint64_t seed_;
  std::vector<TokenId> stream_;
  int64_t epoch_ = -1;          // whose order stands in order_
  std::vector<int64_t> order_;  // window numbers
};

}  // namespace ela::train

#endif  // ELA_MODEL_TRAIN_CORPUS_H_
