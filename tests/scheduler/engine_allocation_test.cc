// Once requests run, a step allocates nothing.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "tests/fakes/engine_rig.h"

namespace {
std::atomic<int64_t> num_allocations{0};

void* Allocate(std::size_t size) {
  ++num_allocations;
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}

// Not inlined: gcc would see free() meet an operator new and call that a mismatch.
[[gnu::noinline]] void Release(void* memory) { std::free(memory); }
}  // namespace

void* operator new(std::size_t size) { return Allocate(size); }
void* operator new[](std::size_t size) { return Allocate(size); }
void operator delete(void* memory) noexcept { Release(memory); }
void operator delete[](void* memory) noexcept { Release(memory); }
void operator delete(void* memory, std::size_t) noexcept { Release(memory); }
void operator delete[](void* memory, std::size_t) noexcept { Release(memory); }

namespace ela {
namespace {

class CountingSink final : public TokenSink {
 public:
  SinkState OnToken(const TokenEvent&) override {
    ++num_events;
    return SinkState::kReady;
  }
  SinkState OnScores(const ScoreEvent&) override {
    ++num_events;
    return SinkState::kReady;
  }
  void OnFinish(const absl::Status&, FinishReason, const Usage&) override {}
  int64_t num_events = 0;
};

TEST(EngineAllocationTest, SteadyStateAllocatesNothing) {
  EngineRig rig;
  auto sink = std::make_shared<CountingSink>();
  for (int i = 0; i < 2; ++i) {
    Request talks = EngineRig::MakeRequest(20, 1 << 20);
    talks.sampling.repetition_penalty = 1.1f;
    talks.top_logprobs = 5;
    talks.routing = true;
    talks.deadline = rig.clock.Now() + absl::Hours(1);
    ASSERT_TRUE(rig.engine->Submit(std::move(talks), sink).ok());
    Request reads = EngineRig::MakeRequest(1 << 20, 1);
    reads.score_prompt = i == 1;
    ASSERT_TRUE(rig.engine->Submit(std::move(reads), sink).ok());
  }
  rig.RunTurns(200);
  const int64_t events = sink->num_events;
  const int64_t before = num_allocations;
  EXPECT_GT(before, 0);
  rig.RunTurns(1000);
  EXPECT_EQ(num_allocations - before, 0);
  EXPECT_GE(sink->num_events - events, 2000);
}

}  // namespace
}  // namespace ela
