#ifndef ELA_SERVER_GENERATION_SERVICE_H_
#define ELA_SERVER_GENERATION_SERVICE_H_

#include "ela/v1/generation.grpc.pb.h"
#include "server/engine_stream.h"

namespace ela {

// ela.v1.Generation on the callback API: a reactor per stream. Thread-safe. Borrows the house.
class GenerationService final : public v1::Generation::CallbackService {
 public:
  explicit GenerationService(const StreamHouse& house) : house_(house) {}

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(
      grpc::CallbackServerContext* context, const v1::GenerateRequest* request) override;
  grpc::ServerWriteReactor<v1::ScoreResponse>* Score(grpc::CallbackServerContext* context,
                                                     const v1::ScoreRequest* request) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const v1::TokenizeRequest* request,
                                     v1::TokenizeResponse* response) override;
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const v1::DetokenizeRequest* request,
                                       v1::DetokenizeResponse* response) override;

 private:
  const StreamHouse& house_;
};

}  // namespace ela

#endif  // ELA_SERVER_GENERATION_SERVICE_H_
