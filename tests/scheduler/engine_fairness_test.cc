// Shares of tokens between tenants, through the whole engine.
#include <gtest/gtest.h>

#include <random>

#include "tests/fakes/engine_rig.h"

namespace ela {
namespace {

// Keeps `num_waiting` requests of a tenant in the engine, of at most so many prompt and new tokens,
// and counts the tokens of those that ended.
class TenantLoad {
 public:
  TenantLoad(EngineRig& rig, std::string tenant, int num_waiting, int max_prompt, int max_new)
      : rig_(rig),
        tenant_(std::move(tenant)),
        num_waiting_(num_waiting),
        max_prompt_(max_prompt),
        max_new_(max_new) {}

  void Refill(std::mt19937& random) {
    for (size_t i = 0; i < asked_.size();) {
      if (asked_[i]->finish_count == 0) {
        ++i;
        continue;
      }
      tokens += asked_[i]->usage.prompt_tokens + asked_[i]->usage.generated_tokens;
      asked_[i] = asked_.back();
      asked_.pop_back();
    }
    while (static_cast<int>(asked_.size()) < num_waiting_) {
      Request request = EngineRig::MakeRequest(1 + random() % max_prompt_, random() % max_new_);
      request.tenant = tenant_;
      asked_.push_back(std::make_shared<RecordingSink>());
      ASSERT_TRUE(rig_.engine->Submit(std::move(request), asked_.back()).ok());
    }
  }

  int64_t tokens = 0;

 private:
  EngineRig& rig_;
  const std::string tenant_;
  const int num_waiting_;
  const int max_prompt_;
  const int max_new_;
  std::vector<std::shared_ptr<RecordingSink>> asked_;
};

// One writes long answers to short prompts and floods, the other reads long prompts: tokens count,
// whichever way they go.
TEST(EngineFairnessTest, FloodedEngineSharesTokensOneToThree) {
  EngineOptions options;
  options.tenants = {{"floods", 1}, {"modest", 3}};
  options.max_queue = 2000;
  EngineRig rig(options);
  TenantLoad floods(rig, "floods", 600, 10, 100);
  TenantLoad modest(rig, "modest", 12, 100, 10);
  std::mt19937 random(5);
  for (int turn = 0; turn < 20000; ++turn) {
    if (turn % 4 == 0) floods.Refill(random);
    modest.Refill(random);
    rig.RunTurns(1);
  }
  const double share = static_cast<double>(modest.tokens) / static_cast<double>(floods.tokens);
  EXPECT_NEAR(share, 3, 3 * 0.05) << modest.tokens << " and " << floods.tokens << " tokens";
}

}  // namespace
}  // namespace ela
