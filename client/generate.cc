#include "client/generate.h"

#include <utility>

#include "client/convert.h"
#include "client/stream_impl.h"

namespace ela::client {

std::optional<GenerateChunk> GenerateStream::Impl::Next() {
  ela::v1::GenerateResponse response;
  while (status_.ok() && call_ != nullptr && call_->Read(&response)) {
    const bool last = response.has_finish();
    if (last) finish_ = FromMessage(response.finish());
    GenerateChunk chunk = FromMessage(std::move(response));
    // A last message that only says goodbye is not worth a turn of the caller's loop.
    if (!last || !chunk.token_ids.empty() || !chunk.text.empty() || chunk.prompt) return chunk;
  }
  if (status_.ok() && call_ != nullptr) status_ = call_->status();
  if (status_.ok() && !finish_.has_value()) {
    status_ = absl::InternalError("the server ended the stream without saying why");
  }
  return std::nullopt;
}

GenerateStream::GenerateStream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GenerateStream::GenerateStream(GenerateStream&&) noexcept = default;
GenerateStream& GenerateStream::operator=(GenerateStream&&) noexcept = default;
GenerateStream::~GenerateStream() = default;

std::optional<GenerateChunk> GenerateStream::Next() { return impl_->Next(); }

absl::Status GenerateStream::ForEach(absl::FunctionRef<void(const GenerateChunk&)> take) {
  while (std::optional<GenerateChunk> chunk = Next()) take(*chunk);
  return status();
}

absl::StatusOr<Generated> GenerateStream::Collect() {
  Generated all;
  const absl::Status status = ForEach([&all](const GenerateChunk& chunk) {
    all.text += chunk.text;
    all.token_ids.insert(all.token_ids.end(), chunk.token_ids.begin(), chunk.token_ids.end());
    all.logprobs.insert(all.logprobs.end(), chunk.logprobs.begin(), chunk.logprobs.end());
  });
  if (!status.ok()) return status;
  all.finish = finish();
  return all;
}

void GenerateStream::Cancel() { impl_->Cancel(); }
absl::Status GenerateStream::status() const { return impl_->status(); }
const Finish& GenerateStream::finish() const { return impl_->finish(); }
std::string GenerateStream::request_id() const { return impl_->request_id(); }

const char* Name(Finish::Reason reason) {
  switch (reason) {
    case Finish::Reason::kLength:
      return "length";
    case Finish::Reason::kEndOfText:
      return "end_of_text";
    case Finish::Reason::kStopToken:
      return "stop_token";
    case Finish::Reason::kStopString:
      return "stop_string";
  }
  return "unknown";
}

}  // namespace ela::client
