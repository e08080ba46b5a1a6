#include "scheduler/inbox.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/fakes/engine_rig.h"

namespace ela {
namespace {

std::unique_ptr<Sequence> MakeSequence(Ticket ticket, int64_t num_tokens = 10) {
  auto sequence =
      Sequence::Create(ticket, EngineRig::MakeRequest(num_tokens, 5),
                       std::make_shared<RecordingSink>(), absl::UnixEpoch(), FakeWorker().Info());
  EXPECT_TRUE(sequence.ok());
  return *std::move(sequence);
}

TEST(InboxTest, TakesEverythingOnceInOrder) {
  Inbox inbox(10, 1000);
  ASSERT_TRUE(inbox.Submit(MakeSequence(1)).ok());
  ASSERT_TRUE(inbox.Submit(MakeSequence(2)).ok());
  inbox.Cancel(1, absl::CancelledError("gone"));
  inbox.Resume(2);
  Inbox::Messages messages;
  inbox.Take(messages);
  ASSERT_EQ(messages.submitted.size(), 2u);
  EXPECT_EQ(messages.submitted[0]->ticket, 1u);
  EXPECT_EQ(messages.submitted[1]->ticket, 2u);
  ASSERT_EQ(messages.cancelled.size(), 1u);
  EXPECT_EQ(messages.cancelled[0].first, 1u);
  EXPECT_EQ(messages.resumed, std::vector<Ticket>{2});
  messages.clear();
  inbox.Take(messages);
  EXPECT_TRUE(messages.empty());
}

TEST(InboxTest, CountsWaitingRequestsUntilTheyLeaveTheQueue) {
  Inbox inbox(2, 1000);
  const std::unique_ptr<Sequence> twin = MakeSequence(1);
  ASSERT_TRUE(inbox.Submit(MakeSequence(1)).ok());
  ASSERT_TRUE(inbox.Submit(MakeSequence(2)).ok());
  Inbox::Messages messages;
  inbox.Take(messages);
  EXPECT_TRUE(absl::IsResourceExhausted(inbox.Submit(MakeSequence(3)))) << "taken, still waiting";
  inbox.LeftQueue(*twin);
  EXPECT_TRUE(inbox.Submit(MakeSequence(3)).ok());
  EXPECT_EQ(inbox.queue().num_requests, 2);
  EXPECT_EQ(inbox.queue().prompt_tokens, 20);
  EXPECT_EQ(inbox.queue().work_tokens, 30);
}

TEST(InboxTest, RefusesWhatWouldPassTheTokenLimit) {
  Inbox inbox(10, 100);
  EXPECT_TRUE(inbox.Submit(MakeSequence(1, 90)).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(inbox.Submit(MakeSequence(2, 11))));
  EXPECT_TRUE(inbox.Submit(MakeSequence(3, 10)).ok());
}

TEST(InboxTest, DrainingRefusesAndKeepsTheEarliestDeadline) {
  Inbox inbox(10, 1000);
  inbox.Drain(absl::FromUnixSeconds(50));
  inbox.Drain(absl::FromUnixSeconds(40));
  inbox.Drain(absl::FromUnixSeconds(60));
  EXPECT_TRUE(absl::IsUnavailable(inbox.Submit(MakeSequence(1))));
  Inbox::Messages messages;
  inbox.Take(messages);
  EXPECT_EQ(messages.drain_deadline, absl::FromUnixSeconds(40));
}

// Without the wake-ups these would take an hour each.
TEST(InboxTest, WaitEndsWithAnyMessage) {
  const std::vector<std::function<void(Inbox&)>> messages = {
      [](Inbox& inbox) { ASSERT_TRUE(inbox.Submit(MakeSequence(1)).ok()); },
      [](Inbox& inbox) { inbox.Cancel(1, absl::CancelledError("gone")); },
      [](Inbox& inbox) { inbox.Resume(1); },
      [](Inbox& inbox) { inbox.Drain(absl::InfiniteFuture()); },
  };
  for (const auto& message : messages) {
    Inbox inbox(10, 1000);
    std::thread waiter([&inbox] { inbox.Wait(absl::Hours(1)); });
    message(inbox);
    waiter.join();
  }
}

TEST(InboxTest, WaitEndsAtItsLimit) {
  Inbox inbox(10, 1000);
  inbox.Wait(absl::ZeroDuration());
  inbox.Wait(absl::Microseconds(50));
}

}  // namespace
}  // namespace ela
