#include "client/command/document_file.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "client/command/text_input.h"

namespace ela::client {

absl::StatusOr<Document> ParseDocument(const std::string& json, int64_t line) {
  if (absl::Status status = CheckUtf8(json, absl::StrCat("line ", line)); !status.ok()) {
    return status;
  }
  const nlohmann::json value = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  const auto broken = [line](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("line ", line, ": ", what));
  };
  if (value.is_discarded()) return broken("not JSON");
  if (!value.is_object()) return broken("not an object with \"text\"");
  const auto text = value.find("text");
  if (text == value.end()) return broken("no \"text\"");
  if (!text->is_string()) return broken("\"text\" is not a string");
  Document document;
  document.line = line;
  document.text = text->get<std::string>();
  if (document.text.empty()) return broken("\"text\" is empty");
  const auto id = value.find("id");
  document.id = id == value.end() ? absl::StrCat("line ", line)
                : id->is_string() ? id->get<std::string>()
                                  : id->dump();
  return document;
}

absl::StatusOr<std::unique_ptr<DocumentFile>> DocumentFile::Open(const std::string& path) {
  std::FILE* const file = path == "-" ? stdin : std::fopen(path.c_str(), "rb");
  struct stat facts = {};
  if (file != nullptr && fstat(fileno(file), &facts) == 0 && S_ISDIR(facts.st_mode)) {
    std::fclose(file);
    return absl::NotFoundError(absl::StrCat(path, " is a folder, not a file of JSON lines"));
  }
  if (file == nullptr) {
    return absl::NotFoundError(absl::StrCat("cannot open ", path, ": ", std::strerror(errno)));
  }
  return absl::WrapUnique(new DocumentFile(file, S_ISREG(facts.st_mode) ? facts.st_size : 0));
}

DocumentFile::~DocumentFile() {
  absl::MutexLock lock(&mutex_);
  if (file_ != stdin) std::fclose(file_);
  std::free(buffer_);
}

bool DocumentFile::Next(std::string* json, int64_t* line) {
  absl::MutexLock lock(&mutex_);
  while (true) {
    const ssize_t size = getline(&buffer_, &capacity_, file_);
    if (size < 0) return false;
    ++line_;
    bytes_read_ += size;
    json->assign(buffer_, size);
    *line = line_;
    if (json->find_first_not_of(" \t\r\n") != std::string::npos) return true;
  }
}

int64_t DocumentFile::bytes_read() const {
  absl::MutexLock lock(&mutex_);
  return bytes_read_;
}

}  // namespace ela::client
