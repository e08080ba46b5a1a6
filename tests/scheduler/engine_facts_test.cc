// What the engine says of itself.
#include <gtest/gtest.h>

#include "scheduler/engine.h"
#include "tests/fakes/engine_rig.h"

namespace ela {
namespace {

// --- Facts ---

TEST(EngineFactsTest, UsageTellsWhereTheTimeWent) {
  EngineRig rig;
  Request request = EngineRig::MakeRequest(300, 11);  // chunks of 128, 128, 44
  const Asked asked = rig.Ask(std::move(request));
  rig.clock.Advance(absl::Milliseconds(7));
  EXPECT_TRUE(rig.RunUntilIdle());
  const Usage& usage = asked.sink->usage;
  EXPECT_EQ(usage.prompt_tokens, 300);
  EXPECT_EQ(usage.generated_tokens, 11);
  EXPECT_EQ(usage.queue_time, absl::Milliseconds(7));
  EXPECT_EQ(usage.prefill_time, absl::Milliseconds(3));
  EXPECT_EQ(usage.decode_time, absl::Milliseconds(10));
}

TEST(EngineFactsTest, ObserverSeesStepsTokensAndLoad) {
  EngineRig rig;
  const Asked talking = rig.Ask(EngineRig::MakeRequest(10, 5));
  rig.RunTurns(1);
  EXPECT_EQ(rig.observer.last_first_token, absl::Milliseconds(1));
  const Asked other = rig.Ask(EngineRig::MakeRequest(200, 5, 3));
  rig.RunTurns(1);
  EXPECT_EQ(rig.observer.last_step.num_items, 2);
  EXPECT_EQ(rig.observer.last_step.decode_tokens, 1);
  EXPECT_EQ(rig.observer.last_step.prefill_tokens, 128);
  EXPECT_EQ(rig.observer.last_step.duration, absl::Milliseconds(1));
  EXPECT_EQ(rig.observer.last_interval, absl::Milliseconds(1));
  EXPECT_EQ(std::accumulate(rig.observer.expert_tokens.begin(), rig.observer.expert_tokens.end(),
                            int64_t{0}),
            129 * 2 * 2);
  EXPECT_EQ(rig.observer.load.num_running, 2);
  EXPECT_EQ(rig.observer.load.slots_total, 4);
  EXPECT_TRUE(rig.RunUntilIdle());
  EXPECT_EQ(rig.observer.num_first_tokens, 2);
  EXPECT_EQ(rig.observer.num_intervals, 8);
  EXPECT_EQ(rig.observer.num_finished, 2);
  EXPECT_EQ(rig.observer.generated_tokens, 10);
  EXPECT_EQ(rig.observer.load.num_running, 0);
}

TEST(EngineFactsTest, IdleTurnDoesNothing) {
  EngineRig rig;
  const int64_t loads = rig.observer.num_loads;
  EXPECT_FALSE(rig.engine->RunOnce());
  EXPECT_EQ(rig.observer.num_loads, loads);
  EXPECT_EQ(rig.worker->num_steps(), 0);
}

}  // namespace
}  // namespace ela
