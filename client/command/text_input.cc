#include "client/command/text_input.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace ela::client {

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
    return absl::InvalidArgumentError(
        absl::StrCat("cannot read ", path, ": ", std::strerror(error)));
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
  if (argument_option_ != nullptr && argument_option_->count() > 0) return argument;
  if (!file.empty()) return ReadFile(file);
  if (isatty(STDIN_FILENO)) {
    return absl::InvalidArgumentError(
        "no text: give it as an argument, with --file FILE, or on standard input");
  }
  return ReadFile("-");
}

}  // namespace ela::client
