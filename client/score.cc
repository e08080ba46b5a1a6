#include "client/score.h"

#include <utility>

#include "client/convert.h"
#include "client/stream_impl.h"

namespace ela::client {

std::optional<ScoreChunk> ScoreStream::Impl::Next() {
  ela::v1::ScoreResponse response;
  while (status_.ok() && call_ != nullptr && call_->Read(&response)) {
    if (response.has_summary()) summary_ = FromMessage(response.summary());
    if (response.scores().logprobs().empty()) continue;
    for (const float logprob : response.scores().logprobs()) so_far_.total_logprob += logprob;
    so_far_.num_tokens += response.scores().logprobs_size();
    return FromMessage(response.scores());
  }
  if (status_.ok() && call_ != nullptr) status_ = call_->status();
  if (status_.ok() && !summary_.has_value()) {
    status_ = absl::InternalError("the server ended the scores without a summary");
  }
  return std::nullopt;
}

ScoreStream::ScoreStream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ScoreStream::ScoreStream(ScoreStream&&) noexcept = default;
ScoreStream& ScoreStream::operator=(ScoreStream&&) noexcept = default;
ScoreStream::~ScoreStream() = default;

std::optional<ScoreChunk> ScoreStream::Next() { return impl_->Next(); }

absl::StatusOr<ScoreSummary> ScoreStream::Finish() {
  while (Next().has_value()) {
  }
  if (!status().ok()) return status();
  return summary();
}

void ScoreStream::Cancel() { impl_->Cancel(); }
absl::Status ScoreStream::status() const { return impl_->status(); }
const ScoreSummary& ScoreStream::so_far() const { return impl_->so_far(); }
const ScoreSummary& ScoreStream::summary() const { return impl_->summary(); }

}  // namespace ela::client
