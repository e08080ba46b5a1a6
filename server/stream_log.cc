#include "server/stream_log.h"

#include <grpc/support/log.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace ela {
namespace {

// A value that may hold anything a caller chose stays one value on one line.
std::string Quoted(absl::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted.push_back('\\');
    quoted.push_back(static_cast<unsigned char>(c) < ' ' ? ' ' : c);
  }
  return quoted + "\"";
}

// A broken promise of ours rather than of the caller.
bool IsOurs(const absl::Status& status) {
  return absl::IsInternal(status) || absl::IsUnknown(status) || absl::IsDataLoss(status);
}

// At debug: what an operator must know of a failed call or address the server says itself.
void LogGrpc(gpr_log_func_args* args) {
  if (spdlog::should_log(spdlog::level::debug)) {
    spdlog::debug("source=grpc message={}", Quoted(args->message));
  }
}

}  // namespace

void StartLog(const std::string& level) {
  static const auto logger = spdlog::stderr_color_mt("ela");
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%f%z level=%l %v");
  logger->set_level(spdlog::level::from_str(level));
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(logger);
  gpr_set_log_function(LogGrpc);
}

void LogStreamEnd(const StreamEnd& end) {
  const bool ours = IsOurs(end.status);
  const auto level = ours ? spdlog::level::err : spdlog::level::debug;
  if (!spdlog::should_log(level)) return;
  spdlog::log(level,
              "request_id={} method={} model={} code={} prompt_tokens={} generated_tokens={} "
              "queue_ms={:.3f} prefill_ms={:.3f} decode_ms={:.3f} total_ms={:.3f}{}",
              Quoted(end.request_id), std::string(end.method), Quoted(end.model),
              absl::StatusCodeToString(end.status.code()), end.usage.prompt_tokens,
              end.usage.generated_tokens, absl::ToDoubleMilliseconds(end.usage.queue_time),
              absl::ToDoubleMilliseconds(end.usage.prefill_time),
              absl::ToDoubleMilliseconds(end.usage.decode_time),
              absl::ToDoubleMilliseconds(end.duration),
              ours ? absl::StrCat(" message=", Quoted(end.status.message())) : "");
}

void LogDetectEnd(const DetectEnd& end) {
  const bool ours = IsOurs(end.status);
  const auto level = ours ? spdlog::level::err : spdlog::level::debug;
  if (!spdlog::should_log(level)) return;
  spdlog::log(level, "request_id={} method={} model={} code={} images={} total_ms={:.3f}{}",
              Quoted(end.request_id), std::string(end.method), Quoted(end.model),
              absl::StatusCodeToString(end.status.code()), end.num_images,
              absl::ToDoubleMilliseconds(end.duration),
              ours ? absl::StrCat(" message=", Quoted(end.status.message())) : "");
}

}  // namespace ela
