#include "client/command/exit_code.h"

#include <cstdio>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/error_details.h"

namespace ela::client {

ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitOk;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kFailedPrecondition:
      return kExitRefused;
    case absl::StatusCode::kResourceExhausted:
      // gRPC's own error of the same code: waiting would not help.
      return IsTooLarge(status) ? kExitRefused : kExitOverloaded;
    case absl::StatusCode::kCancelled:
      return kExitInterrupted;
    default:
      return kExitServer;
  }
}

void PrintError(const std::string& message) {
  const std::string line = absl::StrCat("ela: ", message, "\n");
  std::fwrite(line.data(), 1, line.size(), stderr);
}

ExitCode Report(const absl::Status& status) {
  const ExitCode code = ExitCodeOf(status);
  if (code == kExitInterrupted) {
    PrintError("interrupted");
  } else if (code != kExitOk) {
    std::string message = status.message().empty() ? absl::StatusCodeToString(status.code())
                                                   : std::string(status.message());
    if (absl::StartsWith(message, "no server answers at")) {
      message +=
          "\nstart one with `ela-server --model DIR`, or name another with --server or ELA_SERVER";
    } else if (absl::StartsWith(message, "no complete answer within")) {
      message += " (--timeout)";
    }
    PrintError(message);
  }
  return code;
}

}  // namespace ela::client
