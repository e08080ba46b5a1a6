#include "server/text_stream.h"

#include <algorithm>
#include <utility>

namespace ela {

StopMatcher::StopMatcher(std::vector<std::string> stops) {
  for (std::string& text : stops) {
    Stop stop;
    stop.border.resize(text.size(), 0);
    for (size_t i = 1, length = 0; i < text.size(); ++i) {
      while (length > 0 && text[i] != text[length]) length = stop.border[length - 1];
      if (text[i] == text[length]) ++length;
      stop.border[i] = length;
    }
    stop.text = std::move(text);
    stops_.push_back(std::move(stop));
  }
}

std::optional<size_t> StopMatcher::Push(char byte) {
  std::optional<size_t> complete;
  held_ = 0;
  for (size_t i = 0; i < stops_.size(); ++i) {
    Stop& stop = stops_[i];
    size_t& matched = stop.matched;
    while (matched > 0 && stop.text[matched] != byte) matched = stop.border[matched - 1];
    if (stop.text[matched] == byte) ++matched;
    held_ = std::max(held_, matched);
    if (matched < stop.text.size()) continue;
    if (!complete || stops_[*complete].text.size() < stop.text.size()) complete = i;
    matched = stop.border[matched - 1];  // a further Push must not read behind the text
  }
  return complete;
}

TextStream::TextStream(const Tokenizer& tokenizer, std::vector<std::string> stops,
                       bool keep_special)
    : tokenizer_(tokenizer),
      detokenizer_(tokenizer, /*skip_special=*/!keep_special),
      matcher_(std::move(stops)) {}

void TextStream::Push(TokenId token, std::string* out) {
  // A model's vocabulary may be padded beyond the tokenizer's: such an id has no text.
  if (stopped_ || token < 0 || token >= tokenizer_.vocab_size()) return;
  Append(detokenizer_.Push(token), out);
}

void TextStream::Finish(std::string* out) {
  if (stopped_) return;
  Append(detokenizer_.Finish(), out);
  if (!stopped_) out->append(held_);
  held_.clear();
}

void TextStream::Append(const std::string& text, std::string* out) {
  if (matcher_.empty()) {
    out->append(text);
    return;
  }
  for (const char byte : text) {
    held_.push_back(byte);
    stopped_ = matcher_.Push(byte);
    if (stopped_) {
      out->append(held_, 0, held_.size() - matcher_.stop(*stopped_).size());
      held_.clear();
      return;
    }
  }
  // What can be the beginning of a stop string starts with its first byte, a character's first:
  // cutting there splits none.
  const size_t released = held_.size() - matcher_.held();
  out->append(held_, 0, released);
  held_.erase(0, released);
}

}  // namespace ela
