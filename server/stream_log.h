// What operators read. key=value, the request id first; never prompt text.
#ifndef ELA_SERVER_STREAM_LOG_H_
#define ELA_SERVER_STREAM_LOG_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "scheduler/request.h"

namespace ela {

// Sends spdlog's lines to stderr, gRPC's own messages through spdlog. `level`: debug, info, warn or
// error (checked by CompleteConfig).
void StartLog(const std::string& level);

struct StreamEnd {
  absl::string_view request_id;
  absl::string_view method;
  absl::string_view model;
  const absl::Status& status;
  const Usage& usage;
  absl::Duration duration;
};

// One line per request at debug; a broken promise of ours (INTERNAL, DATA_LOSS) at error.
void LogStreamEnd(const StreamEnd& end);

struct DetectEnd {
  absl::string_view request_id;
  absl::string_view method;
  absl::string_view model;
  const absl::Status& status;
  int64_t num_images;
  absl::Duration duration;
};

// As LogStreamEnd, for a detection call.
void LogDetectEnd(const DetectEnd& end);

}  // namespace ela

#endif  // ELA_SERVER_STREAM_LOG_H_
