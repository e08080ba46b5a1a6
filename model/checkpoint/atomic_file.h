#ifndef ELA_MODEL_CHECKPOINT_ATOMIC_FILE_H_
#define ELA_MODEL_CHECKPOINT_ATOMIC_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace ela {

// Replaces `path` by `parts`, one after the other. The bytes go to `path`.tmp first, are synced and
// renamed over `path`, and the directory is synced: after a crash or on a full disk either the old
// file or the new one is there, whole. One writer per path at a time. Errors: kResourceExhausted
// (disk or quota full), kUnavailable (other I/O); `path` is then as it was.
absl::Status WriteFileAtomically(const std::string& path,
                                 absl::Span<const absl::string_view> parts);

}  // namespace ela

#endif  // ELA_MODEL_CHECKPOINT_ATOMIC_FILE_H_
