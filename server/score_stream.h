#ifndef ELA_SERVER_SCORE_STREAM_H_
#define ELA_SERVER_SCORE_STREAM_H_

#include <optional>
#include <vector>

#include "ela/v1/generation.pb.h"
#include "server/engine_stream.h"
#include "server/messages.h"

namespace ela {

// One Score call: the scores as they come, then the summary.
class ScoreStream : public EngineStream<v1::ScoreRequest, v1::ScoreResponse> {
 public:
  ScoreStream(const StreamHouse& house, grpc::CallbackServerContext* context,
              const v1::ScoreRequest* message)
      : EngineStream(house, Method::kScore, context, message) {}

 protected:
  absl::StatusOr<Request> Prepare(const ServedModel& model, const CallFacts& call) override;
  Fill FillResponse(OutboxContents* contents, v1::ScoreResponse* response) override;

 private:
  void Count(const v1::Scores& scores);

  // Set by Prepare.
  const Tokenizer* tokenizer_ = nullptr;
  std::vector<TokenId> tokens_;
  std::optional<ScorePieces> pieces_;

  int64_t num_tokens_ = 0, num_bytes_ = 0;
  double total_logprob_ = 0;
};

}  // namespace ela

#endif  // ELA_SERVER_SCORE_STREAM_H_
