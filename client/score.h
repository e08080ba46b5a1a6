// Log-probabilities of a given text.
#ifndef ELA_CLIENT_SCORE_H_
#define ELA_CLIENT_SCORE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/usage.h"

namespace ela::client {

struct ScoreParams {
  std::string model;                // empty: ClientOptions::model
  std::string text;                 // what to score, UTF-8; or
  std::vector<uint32_t> token_ids;  // the same as tokens. Exactly one of the two is set
  std::vector<Segment> segments;    // prefix lobes only; empty: one prompt
  // Put the model's end-of-text in front, so that the first token has a score too, as in training.
  bool start_with_eos = false;
  bool logits = false;        // raw logits; only for short inputs (Limits::max_logit_tokens)
  uint32_t top_logprobs = 0;  // [0, 20]
  bool routing = false;
  int32_t priority = 0;  // [-100, 100]
  std::string request_id;
  std::optional<absl::Duration> timeout;  // default ClientOptions::timeout
};

// A stretch of positions: index i speaks of the token at first_position + i.
struct ScoreChunk {
  uint64_t first_position = 0;
  std::vector<uint32_t> token_ids;
  std::vector<float> logprobs;  // log p(token | all before it), natural logarithm
  std::vector<std::vector<TopToken>> top_logprobs;
  std::vector<TokenRouting> routing;
  std::vector<float> logits;  // [token_ids, vocab_size] row-major
};

struct ScoreSummary {
  uint64_t num_tokens = 0;   // that have a score
  uint64_t num_bytes = 0;    // UTF-8 bytes of those tokens
  double total_logprob = 0;  // natural logarithm
  double bits_per_byte = 0;  // -total_logprob / ln 2 / num_bytes
  Usage usage;               // in the server's summary alone
};

// One running Score. Move-only; destroying it early cancels it. One thread reads, any may Cancel.
class ScoreStream {
 public:
  ScoreStream(ScoreStream&&) noexcept;
  ScoreStream& operator=(ScoreStream&&) noexcept;
  ~ScoreStream();

  // Blocks for the next stretch of positions. Empty: the stream has ended, status() says how.
  std::optional<ScoreChunk> Next();

  // Reads to the end, keeping sums alone; the server's summary, or the error.
  absl::StatusOr<ScoreSummary> Finish();

  void Cancel();
  absl::Status status() const;  // OK while it runs and after a complete stream

  // Sums of what Next has returned so far: num_tokens and total_logprob.
  const ScoreSummary& so_far() const;

  // The server's sums. REQUIRES: Next returned nothing and status() is OK.
  const ScoreSummary& summary() const;

 private:
  friend class Client;
  class Impl;
  explicit ScoreStream(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ela::client

#endif  // ELA_CLIENT_SCORE_H_
