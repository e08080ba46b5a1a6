// What stands behind GenerateStream and ScoreStream. Not installed.
#ifndef ELA_CLIENT_STREAM_IMPL_H_
#define ELA_CLIENT_STREAM_IMPL_H_

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "client/generate.h"
#include "client/score.h"
#include "client/stream_call.h"
#include "ela/v1/generation.pb.h"

namespace ela::client {

class GenerateStream::Impl {
 public:
  using Call = StreamCall<ela::v1::GenerateResponse>;

  // `call` is null when the parameters were wrong: `status` says how.
  Impl(std::unique_ptr<Call> call, absl::Status status)
      : call_(std::move(call)), status_(std::move(status)) {}

  std::optional<GenerateChunk> Next();
  void Cancel() {
    if (call_ != nullptr) call_->Cancel();
  }
  const absl::Status& status() const { return status_; }
  const Finish& finish() const { return *finish_; }
  std::string request_id() const {
    return call_ == nullptr ? "" : call_->InitialMetadata("ela-request-id");
  }

 private:
  const std::unique_ptr<Call> call_;
  absl::Status status_;
  std::optional<client::Finish> finish_;
};

class ScoreStream::Impl {
 public:
  using Call = StreamCall<ela::v1::ScoreResponse>;

  Impl(std::unique_ptr<Call> call, absl::Status status)
      : call_(std::move(call)), status_(std::move(status)) {}

  std::optional<ScoreChunk> Next();
  void Cancel() {
    if (call_ != nullptr) call_->Cancel();
  }
  const absl::Status& status() const { return status_; }
  const ScoreSummary& so_far() const { return so_far_; }
  const ScoreSummary& summary() const { return *summary_; }

 private:
  const std::unique_ptr<Call> call_;
  absl::Status status_;
  ScoreSummary so_far_;
  std::optional<ScoreSummary> summary_;
};

}  // namespace ela::client

#endif  // ELA_CLIENT_STREAM_IMPL_H_
