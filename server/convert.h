// Messages to domain types. Every limit on what a caller may ask for is here, and is checked before
// anything is allocated for the request; what is wrong with a request is reported all at once.
#ifndef ELA_SERVER_CONVERT_H_
#define ELA_SERVER_CONVERT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "ela/v1/generation.pb.h"
#include "scheduler/request.h"
#include "server/model_card.h"

namespace ela {

// What a call says beside its message.
struct CallFacts {
  std::string request_id;  // never empty
  std::string tenant;
  absl::Time deadline = absl::InfiniteFuture();
};

struct GenerateCall {
  Request request;
  std::vector<std::string> stops;
  v1::OutputOptions output;
};

struct ScoreCall {
  Request request;
  std::vector<TokenId> tokens;  // of the request, once more: the stream names what it scores
  bool starts_with_eos = false;
};

// `fresh_seed` is used when the request names none. Thread-safe. Cost: linear in the prompt.
// Errors: kInvalidArgument with google.rpc.BadRequest.
absl::StatusOr<GenerateCall> ConvertGenerate(const v1::GenerateRequest& message,
                                             const ModelCard& model, const CallFacts& call,
                                             uint64_t fresh_seed);
absl::StatusOr<ScoreCall> ConvertScore(const v1::ScoreRequest& message, const ModelCard& model,
                                       const CallFacts& call);

absl::Status ConvertTokenize(const v1::TokenizeRequest& message, const ModelCard& model,
                             v1::TokenizeResponse* response);
absl::Status ConvertDetokenize(const v1::DetokenizeRequest& message, const ModelCard& model,
                               v1::DetokenizeResponse* response);

// Printable ASCII up to kMaxRequestIdBytes: it is returned as metadata and stands in the log.
// Errors: kInvalidArgument.
absl::Status CheckRequestId(const std::string& request_id);

}  // namespace ela

#endif  // ELA_SERVER_CONVERT_H_
