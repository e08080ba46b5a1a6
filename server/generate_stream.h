#ifndef ELA_SERVER_GENERATE_STREAM_H_
#define ELA_SERVER_GENERATE_STREAM_H_

#include <optional>
#include <vector>

#include "ela/v1/generation.pb.h"
#include "server/engine_stream.h"
#include "server/messages.h"
#include "server/text_stream.h"

namespace ela {

// One Generate call. Tokens that end the generation by themselves (end of text, stop tokens) are
// named in Finish and are no output.
class GenerateStream : public EngineStream<v1::GenerateRequest, v1::GenerateResponse> {
 public:
  GenerateStream(const StreamHouse& house, grpc::CallbackServerContext* context,
                 const v1::GenerateRequest* message)
      : EngineStream(house, Method::kGenerate, context, message) {}

 protected:
  absl::StatusOr<Request> Prepare(const ServedModel& model, const CallFacts& call) override;
  Fill FillResponse(OutboxContents* contents, v1::GenerateResponse* response) override;

 private:
  void AddTokens(const OutboxRows& rows, v1::GenerateResponse* response);
  void SetFinish(const OutboxContents& contents, v1::GenerateResponse* response);

  // Set by Prepare.
  v1::OutputOptions output_;
  std::vector<TokenId> prompt_;  // with prompt_logprobs
  std::vector<TokenId> ending_;  // tokens that end the generation
  uint64_t seed_ = 0;
  std::optional<TextStream> text_;  // when text is wanted, or stop strings are looked for
  std::optional<ScorePieces> pieces_;

  std::optional<TokenId> ended_by_;
};

}  // namespace ela

#endif  // ELA_SERVER_GENERATE_STREAM_H_
