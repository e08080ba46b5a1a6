#include "model/utf8.h"

#include <cstring>

namespace ela {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";

// How many leading bytes are ASCII, eight at a time.
size_t AsciiPrefix(absl::string_view bytes) {
  size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + i, 8);
    if ((word & 0x8080808080808080u) != 0) break;
  }
  while (i < bytes.size() && static_cast<unsigned char>(bytes[i]) < 0x80) ++i;
  return i;
}

}  // namespace

Utf8Char FirstChar(absl::string_view bytes) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned first = byte(0);
  if (first < 0x80) return {Utf8Char::kWhole, 1, first};
  size_t length = 0;
  unsigned low = 0x80, high = 0xBF;  // what the second byte may be (Unicode table 3-7)
  uint32_t code_point = 0;
  if (first >= 0xC2 && first <= 0xDF) {
    length = 2;
    code_point = first & 0x1F;
  } else if (first >= 0xE0 && first <= 0xEF) {
    length = 3;
    code_point = first & 0x0F;
    if (first == 0xE0) low = 0xA0;
    if (first == 0xED) high = 0x9F;
  } else if (first >= 0xF0 && first <= 0xF4) {
    length = 4;
    code_point = first & 0x07;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;
  } else {
    return {Utf8Char::kBroken, 1, 0};
  }
  for (size_t i = 1; i < length; ++i) {
    if (i == bytes.size()) return {Utf8Char::kUnfinished, i, 0};
    if (byte(i) < low || byte(i) > high) return {Utf8Char::kBroken, i, 0};
    code_point = code_point << 6 | (byte(i) & 0x3F);
    low = 0x80;
    high = 0xBF;
  }
  return {Utf8Char::kWhole, length, code_point};
}

bool IsValidUtf8(absl::string_view bytes) {
  while (true) {
    bytes.remove_prefix(AsciiPrefix(bytes));
    if (bytes.empty()) return true;
    const Utf8Char next = FirstChar(bytes);
    if (next.kind != Utf8Char::kWhole) return false;
    bytes.remove_prefix(next.length);
  }
}

size_t AppendWholeUtf8(absl::string_view bytes, std::string* out) {
  const size_t total = bytes.size();
  while (true) {
    const size_t ascii = AsciiPrefix(bytes);
    out->append(bytes.data(), ascii);
    bytes.remove_prefix(ascii);
    if (bytes.empty()) return total;
    const Utf8Char next = FirstChar(bytes);
    if (next.kind == Utf8Char::kUnfinished) return total - bytes.size();
    if (next.kind == Utf8Char::kWhole) {
      out->append(bytes.data(), next.length);
    } else {
      out->append(kReplacement);
    }
    bytes.remove_prefix(next.length);
  }
}

std::string ReplaceBrokenUtf8(absl::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  if (AppendWholeUtf8(bytes, &out) < bytes.size()) out += kReplacement;
  return out;
}

void AppendUtf8(uint32_t code_point, std::string* out) {
  const auto add = [&](uint32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    add(code_point);
  } else if (code_point < 0x800) {
    add(0xC0 | code_point >> 6);
    add(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    add(0xE0 | code_point >> 12);
    add(0x80 | (code_point >> 6 & 0x3F));
    add(0x80 | (code_point & 0x3F));
  } else {
    add(0xF0 | code_point >> 18);
    add(0x80 | (code_point >> 12 & 0x3F));
    add(0x80 | (code_point >> 6 & 0x3F));
    add(0x80 | (code_point & 0x3F));
  }
}

bool IsWhiteSpace(uint32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

}  // namespace ela
