// Messages to plain structs and back. The server checks ranges; here only shapes are translated.
#ifndef ELA_CLIENT_CONVERT_H_
#define ELA_CLIENT_CONVERT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/generate.h"
#include "client/model_info.h"
#include "client/score.h"
#include "client/usage.h"
#include "ela/v1/generation.pb.h"
#include "ela/v1/model.pb.h"

namespace ela::client {

// Errors: kInvalidArgument when not exactly one of text and token_ids is set: a message cannot hold
// both.
absl::StatusOr<ela::v1::GenerateRequest> ToMessage(const GenerateParams& params,
                                                   const std::string& model);
absl::StatusOr<ela::v1::ScoreRequest> ToMessage(const ScoreParams& params,
                                                const std::string& model);

GenerateChunk FromMessage(ela::v1::GenerateResponse&& response);
Finish FromMessage(const ela::v1::Finish& finish);
ScoreChunk FromMessage(const ela::v1::Scores& scores);
ScoreSummary FromMessage(const ela::v1::ScoreSummary& summary);
std::vector<ModelSummary> FromMessage(const ela::v1::ListModelsResponse& response);
ModelDescription FromMessage(ela::v1::DescribeModelResponse&& response);

}  // namespace ela::client

#endif  // ELA_CLIENT_CONVERT_H_
