#include "client/command/text_input.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace ela::client {

namespace {

// Bytes of the UTF-8 character at the start of `text`, which is not empty; 0: there is none.
// The Unicode Standard, table 3-7: no longer form than needed, no surrogate, nothing past U+10FFFF.
size_t CharacterBytes(absl::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t size = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
  if (size == 0 || size > text.size()) return 0;
  const unsigned char least = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned char most = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (byte(1) < least || byte(1) > most) return 0;
  for (size_t i = 2; i < size; ++i) {
    if (byte(i) < 0x80 || byte(i) > 0xBF) return 0;
  }
  return size;
}

absl::StatusOr<std::string> Utf8Only(absl::StatusOr<std::string> text, absl::string_view what) {
  if (!text.ok()) return text;
  if (absl::Status status = CheckUtf8(*text, what); !status.ok()) return status;
  return text;
}

}  // namespace

absl::Status CheckUtf8(absl::string_view text, absl::string_view what) {
  for (size_t offset = 0; offset < text.size();) {
    const size_t size = CharacterBytes(text.substr(offset));
    if (size == 0) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s is not UTF-8: byte 0x%02x at offset %d", what,
                          static_cast<unsigned char>(text[offset]), offset));
    }
    offset += size;
  }
  return absl::OkStatus();
}

ExitCode ReportText(const absl::Status& status) {
  const ExitCode code = Report(status);
  return status.code() == absl::StatusCode::kInvalidArgument ? code : kExitUsage;
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::FILE* const file = path == "-" ? stdin : std::fopen(path.c_str(), "rb");
  if (file == nullptr) {
    return absl::NotFoundError(absl::StrCat("cannot open ", path, ": ", std::strerror(errno)));
  }
  std::string text;
  char buffer[1 << 16];
  while (const size_t size = std::fread(buffer, 1, sizeof(buffer), file)) {
    text.append(buffer, size);
  }
  const int error = std::ferror(file) ? errno : 0;
  if (file != stdin) std::fclose(file);
  if (error != 0) {
    return absl::NotFoundError(absl::StrCat("cannot read ", path, ": ", std::strerror(error)));
  }
  return text;
}

void TextInput::AddTo(CLI::App& command, const std::string& what) {
  CLI::Option* const option = command.add_option("text", argument, what);
  command.add_option("-f,--file", file, "Read it from a file; - is standard input")
      ->excludes(option);
  argument_option_ = option;
}

absl::StatusOr<std::string> TextInput::Read() const {
  if (argument_option_ != nullptr && argument_option_->count() > 0) {
    return Utf8Only(argument, "the text");
  }
  if (!file.empty() && file != "-") return Utf8Only(ReadFile(file), file);
  if (file.empty() && isatty(STDIN_FILENO)) {
    return absl::FailedPreconditionError(
        "no text: give it as an argument, with --file FILE, or on standard input");
  }
  return Utf8Only(ReadFile("-"), "standard input");
}

}  // namespace ela::client
