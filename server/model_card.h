// The constant facts of one served model: what requests are checked against and what
// Models.Describe tells.
#ifndef ELA_SERVER_MODEL_CARD_H_
#define ELA_SERVER_MODEL_CARD_H_

#include <cstdint>
#include <string>

#include "model/config.h"
#include "model/tokenizer.h"
#include "model/worker.h"

namespace ela {

// Bounds that belong to the contract rather than to a server.
inline constexpr int kMaxStopStrings = 8;
inline constexpr int kMaxStopStringBytes = 128;
inline constexpr int kMaxStopTokenIds = 32;
inline constexpr int kMaxRequestIdBytes = 128;
inline constexpr int kMaxPenaltyWindow = 4096;

struct ModelCard {
  std::string name;
  LanguageConfig config;
  WorkerInfo worker;
  const Tokenizer* tokenizer = nullptr;  // outlives the card
  int64_t longest_token_bytes = 1;       // of the tokenizer: bounds a text's tokens from below
  int64_t max_prompt_tokens = 0;
  int64_t max_new_tokens = 0;
  int64_t max_logit_tokens = 0;
  int64_t max_message_bytes = 0;
};

}  // namespace ela

#endif  // ELA_SERVER_MODEL_CARD_H_
