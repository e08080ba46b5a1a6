#ifndef ELA_CLIENT_COMMAND_DOCUMENT_FILE_H_
#define ELA_CLIENT_COMMAND_DOCUMENT_FILE_H_

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

namespace ela::client {

struct Document {
  int64_t line = 0;  // counted from 1
  std::string id;    // the file's, else "line N"
  std::string text;  // not empty
};

// One line of a file of documents. Errors: kInvalidArgument, naming the line and what is wrong.
absl::StatusOr<Document> ParseDocument(const std::string& json, int64_t line);

// A file of JSON lines, {"id": …, "text": …}, read line by line: it may be larger than memory.
// Thread-safe.
class DocumentFile {
 public:
  // "-" is standard input. Errors: kNotFound.
  static absl::StatusOr<std::unique_ptr<DocumentFile>> Open(const std::string& path);
  ~DocumentFile();

  // The next line that is not blank. False: the end.
  bool Next(std::string* json, int64_t* line);

  int64_t bytes_read() const;
  int64_t total_bytes() const { return total_bytes_; }  // 0: not known

 private:
  DocumentFile(std::FILE* file, int64_t total_bytes) : total_bytes_(total_bytes), file_(file) {}

  const int64_t total_bytes_;
  mutable absl::Mutex mutex_;
  std::FILE* const file_ ABSL_PT_GUARDED_BY(mutex_);
  char* buffer_ ABSL_GUARDED_BY(mutex_) = nullptr;  // getline's
  size_t capacity_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t line_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t bytes_read_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace ela::client

#endif  // ELA_CLIENT_COMMAND_DOCUMENT_FILE_H_
