#include "server/generation_service.h"

#include "model/status_macros.h"
#include "server/convert.h"
#include "server/generate_stream.h"
#include "server/score_stream.h"
#include "server/unary_call.h"

namespace ela {

grpc::ServerWriteReactor<v1::GenerateResponse>* GenerationService::Generate(
    grpc::CallbackServerContext* context, const v1::GenerateRequest* request) {
  auto* stream = new GenerateStream(house_, context, request);  // OnDone deletes it
  stream->Begin();
  return stream;
}

grpc::ServerWriteReactor<v1::ScoreResponse>* GenerationService::Score(
    grpc::CallbackServerContext* context, const v1::ScoreRequest* request) {
  auto* stream = new ScoreStream(house_, context, request);  // OnDone deletes it
  stream->Begin();
  return stream;
}

grpc::ServerUnaryReactor* GenerationService::Tokenize(grpc::CallbackServerContext*,
                                                      const v1::TokenizeRequest* request,
                                                      v1::TokenizeResponse* response) {
  DeliveryThread* thread = request->text().size() > kLongTextBytes ? &house_.tokenizing : nullptr;
  return UnaryCall::Begin(house_.metrics, Method::kTokenize, thread, [=]() -> absl::Status {
    ELA_ASSIGN_OR_RETURN(ServedModel * model, house_.models.Find(request->model()));
    return ConvertTokenize(*request, model->card(), response);
  });
}

grpc::ServerUnaryReactor* GenerationService::Detokenize(grpc::CallbackServerContext*,
                                                        const v1::DetokenizeRequest* request,
                                                        v1::DetokenizeResponse* response) {
  return UnaryCall::Begin(house_.metrics, Method::kDetokenize, nullptr, [=]() -> absl::Status {
    ELA_ASSIGN_OR_RETURN(ServedModel * model, house_.models.Find(request->model()));
    return ConvertDetokenize(*request, model->card(), response);
  });
}

}  // namespace ela
