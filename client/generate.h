// Streaming a continuation: what to ask for, what arrives.
#ifndef ELA_CLIENT_GENERATE_H_
#define ELA_CLIENT_GENERATE_H_

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/score.h"
#include "client/usage.h"

namespace ela::client {

// An empty optional means the server's default, which is named beside the field. The server checks
// all ranges; a value outside comes back as kInvalidArgument with its field and limit.
struct GenerateParams {
  std::string model;                // empty: ClientOptions::model
  std::string text;                 // what to continue, UTF-8; or
  std::vector<uint32_t> token_ids;  // the same as tokens. Exactly one of the two is set
  std::vector<Segment> segments;    // cuts of the prompt, prefix lobes only; empty: one prompt

  std::optional<float> temperature;         // [0, 10]; 0: always the most probable; default 1
  std::optional<uint32_t> top_k;            // 0: all; default 0
  std::optional<float> top_p;               // (0, 1]; default 1
  std::optional<float> min_p;               // [0, 1); default 0
  std::optional<uint64_t> seed;             // default: the server draws one, see Finish::seed
  std::optional<float> repetition_penalty;  // (0, 10]; default 1
  std::optional<float> presence_penalty;    // [-10, 10]; default 0
  std::optional<float> frequency_penalty;   // [-10, 10]; default 0
  std::optional<uint32_t> penalty_window;   // [0, 4096] last tokens; default 64

  std::optional<uint64_t> max_new_tokens;  // 0: absorb only; default 128
  std::vector<std::string> stop;           // the text ends before the first match
  std::vector<uint32_t> stop_token_ids;    // not part of the output
  bool ignore_eos = false;                 // go on after the model's end-of-text

  bool logprobs = false;         // GenerateChunk::logprobs
  uint32_t top_logprobs = 0;     // GenerateChunk::top_logprobs, [0, 20]
  bool routing = false;          // GenerateChunk::routing
  bool prompt_logprobs = false;  // GenerateChunk::prompt
  bool omit_text = false;        // tokens only
  bool keep_special = false;     // special tokens appear in the text

  int32_t priority = 0;                   // [-100, 100]; higher goes first
  std::string request_id;                 // for the server's log; empty: the server makes one
  std::optional<absl::Duration> timeout;  // of the whole stream; default ClientOptions::timeout
};

// Tokens since the last chunk, in order; several come together when reader or network are slow.
struct GenerateChunk {
  std::string text;  // that these tokens complete: always whole UTF-8
  std::vector<uint32_t> token_ids;
  std::vector<float> logprobs;  // natural logarithm, one per token if asked for
  std::vector<std::vector<TopToken>> top_logprobs;
  std::vector<TokenRouting> routing;
  std::optional<ScoreChunk> prompt;  // scores of the prompt's tokens, before the first token
};

struct Finish {
  enum class Reason { kLength, kEndOfText, kStopToken, kStopString };
  Reason reason = Reason::kLength;
  std::optional<uint32_t> stop_token_id;  // with kStopToken and kEndOfText
  std::string stop_string;                // with kStopString: the one that matched
  Usage usage;
  uint64_t seed = 0;  // that was used: send it again for the same tokens
};

const char* Name(Finish::Reason reason);  // "length", "end_of_text", "stop_token", "stop_string"

// A whole continuation.
struct Generated {
  std::string text;
  std::vector<uint32_t> token_ids;
  std::vector<float> logprobs;
  Finish finish;
};

// One running Generate. Move-only; destroying it early cancels it on the server, where its slot is
// free within two steps. One thread reads; Cancel may come from any thread. It may outlive its
// Client. Three ways to read, alike in effect:
//
//   while (std::optional<GenerateChunk> chunk = stream.Next()) Show(chunk->text);
//   for (const GenerateChunk& chunk : stream) Show(chunk.text);
//   absl::Status status = stream.ForEach([](const GenerateChunk& chunk) { Show(chunk.text); });
class GenerateStream {
 public:
  GenerateStream(GenerateStream&&) noexcept;
  GenerateStream& operator=(GenerateStream&&) noexcept;
  ~GenerateStream();

  // Blocks for the next chunk. Empty: the stream has ended, status() says how.
  std::optional<GenerateChunk> Next();

  // Calls `take` for each chunk; returns status().
  absl::Status ForEach(absl::FunctionRef<void(const GenerateChunk&)> take);

  // Reads to the end and returns everything, or the error.
  absl::StatusOr<Generated> Collect();

  // The stream ends soon with kCancelled. Any thread; harmless after the end.
  void Cancel();

  // OK while the stream runs and after a complete one. Errors: those of ela.v1.Generation (see
  // DetailsOf), kUnavailable also when the server cannot be reached.
  absl::Status status() const;

  // Reason, usage and seed. REQUIRES: Next returned nothing and status() is OK.
  const Finish& finish() const;

  // The id under which the server logs this request; empty before the first chunk.
  std::string request_id() const;

  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = GenerateChunk;
    using difference_type = std::ptrdiff_t;
    using pointer = const GenerateChunk*;
    using reference = const GenerateChunk&;

    Iterator() = default;
    explicit Iterator(GenerateStream* stream) : stream_(stream) { ++*this; }
    reference operator*() const { return *chunk_; }
    pointer operator->() const { return &*chunk_; }
    Iterator& operator++() {
      chunk_ = stream_->Next();
      return *this;
    }
    void operator++(int) { ++*this; }
    // Equal only at the end, which is all that a range-for asks.
    friend bool operator==(const Iterator& a, const Iterator& b) {
      return a.chunk_.has_value() == b.chunk_.has_value();
    }
    friend bool operator!=(const Iterator& a, const Iterator& b) { return !(a == b); }

   private:
    GenerateStream* stream_ = nullptr;
    std::optional<GenerateChunk> chunk_;
  };
  Iterator begin() { return Iterator(this); }
  Iterator end() { return Iterator(); }

 private:
  friend class Client;
  class Impl;
  explicit GenerateStream(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ela::client

#endif  // ELA_CLIENT_GENERATE_H_
