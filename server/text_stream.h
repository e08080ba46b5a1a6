// Tokens to text that may stop. Text that might still become a stop string is held back; the text
// that came out ends before the match. The stream and the engine run the same machine on the same
// tokens, so both stop at the same one.
#ifndef ELA_SERVER_TEXT_STREAM_H_
#define ELA_SERVER_TEXT_STREAM_H_

#include <optional>
#include <string>
#include <vector>

#include "model/tokenizer.h"
#include "scheduler/request.h"

namespace ela {

// Finds the first occurrence of any of several strings in a stream of bytes (Knuth, Morris and
// Pratt's automaton, one per string). Thread-compatible. Cost: a few operations per byte and
// string.
class StopMatcher {
 public:
  // REQUIRES: no string is empty.
  explicit StopMatcher(std::vector<std::string> stops);

  // The index of the string that this byte completes (the longest of several); nothing else may be
  // pushed after that.
  std::optional<size_t> Push(char byte);
  // The length of the longest end of the stream that is the beginning of a string.
  size_t held() const { return held_; }
  const std::string& stop(size_t index) const { return stops_[index].text; }
  bool empty() const { return stops_.empty(); }

 private:
  struct Stop {
    std::string text;
    std::vector<size_t> border;  // [i]: length of the longest proper border of text[0..i]
    size_t matched = 0;          // bytes of `text` that the stream ends with
  };
  std::vector<Stop> stops_;
  size_t held_ = 0;
};

// Thread-compatible. Borrows the tokenizer.
class TextStream {
 public:
  TextStream(const Tokenizer& tokenizer, std::vector<std::string> stops, bool keep_special);

  // Appends to `out` the text that `token` completes: whole UTF-8, nothing that may yet be part of
  // a stop string. Nothing after a stop.
  void Push(TokenId token, std::string* out);
  // Appends what is held back: the generation ended otherwise.
  void Finish(std::string* out);
  // The stop string that matched, or null.
  const std::string* stopped() const { return stopped_ ? &matcher_.stop(*stopped_) : nullptr; }

 private:
  void Append(const std::string& text, std::string* out);

  const Tokenizer& tokenizer_;
  Detokenizer detokenizer_;
  StopMatcher matcher_;
  std::string held_;  // the matcher's beginning of a stop string
  std::optional<size_t> stopped_;
};

// The engine's side of it. Engine thread only.
class StopStrings : public StopCondition {
 public:
  StopStrings(const Tokenizer& tokenizer, std::vector<std::string> stops, bool keep_special)
      : text_(tokenizer, std::move(stops), keep_special) {}
  bool StopsAfter(TokenId token) override {
    scratch_.clear();
    text_.Push(token, &scratch_);
    return text_.stopped() != nullptr;
  }

 private:
  TextStream text_;
  std::string scratch_;
};

}  // namespace ela

#endif  // ELA_SERVER_TEXT_STREAM_H_
