// Time is a fake clock's and the test's own thread is the worker, so that every order is exact; one
// test at the end lets threads do it.
#include "scheduler/detect_batcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "scheduler/detect_threads.h"
#include "scheduler/request.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_detector.h"

namespace ela {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// What became of pictures, by name, in the order in which they ended.
struct Ends {
  std::mutex mutex;
  std::vector<std::string> order;
  std::map<std::string, absl::Status> status;
  std::map<std::string, PictureTimes> times;
  std::map<std::string, std::vector<Detection>> detections;
  int num_destroyed = 0;
};

struct TaskScript {
  DetectTaskFacts facts;
  int32_t side = 64;
  uint8_t red = 255;
  absl::Status prepare;
  std::function<void()> while_preparing = nullptr;
  std::atomic<bool>* abandoned = nullptr;
};

class TestTask final : public DetectTask {
 public:
  TestTask(std::string name, TaskScript script, Ends& ends)
      : name_(std::move(name)), script_(std::move(script)), ends_(ends) {}
  ~TestTask() override {
    std::lock_guard<std::mutex> lock(ends_.mutex);
    ++ends_.num_destroyed;
  }

  DetectTaskFacts Facts() const override { return script_.facts; }
  const DetectionOptions& Options() const override { return options_; }
  bool Abandoned() const override { return script_.abandoned && script_.abandoned->load(); }
  absl::Status Prepare(PreparedPicture* picture) override {
    if (script_.while_preparing) script_.while_preparing();
    picture->width = picture->height = script_.side;
    picture->pixels.assign(size_t{3} * script_.side * script_.side, 0);
    picture->pixels[0] = script_.red;
    return script_.prepare;
  }
  void OnDone(const absl::Status& status, const DetectOutput& output,
              const PictureTimes& times) override {
    std::lock_guard<std::mutex> lock(ends_.mutex);
    ends_.order.push_back(name_);
    ends_.status[name_] = status;
    ends_.times[name_] = times;
    ends_.detections[name_] = output.detections;
  }

 private:
  const std::string name_;
  const TaskScript script_;
  const DetectionOptions options_;
  Ends& ends_;
};

class RecordingDetectObserver final : public DetectObserver {
 public:
  void OnLoad(const DetectLoad& l) override { load = l; }
  void OnBatch(int32_t n, const DetectTimes&) override { batches.push_back(n); }
  void OnPicture(const absl::Status&, const DetectOutput&, const PictureTimes&) override {
    ++num_pictures;
  }
  void OnRejected(const absl::Status&) override { ++num_rejected; }

  DetectLoad load;
  std::vector<int32_t> batches;
  std::atomic<int> num_pictures{0}, num_rejected{0};
};

FakeDetectorOptions Lanes(int32_t num_lanes, int32_t max_batch, int32_t preferred_batch) {
  FakeDetectorOptions options;
  options.num_lanes = num_lanes;
  options.max_batch = max_batch;
  options.preferred_batch = preferred_batch;
  return options;
}

class DetectBatcherTest : public testing::Test {
 protected:
  void Make(FakeDetectorOptions detector = {}) {
    detector.clock = &clock_;
    detector_ = std::make_unique<FakeDetector>(detector);
    batcher_ = *DetectBatcher::Create(options_, *detector_, observer_, clock_);
  }
  ~DetectBatcherTest() override {
    if (batcher_ == nullptr) return;
    batcher_->Drain(clock_.Now());
    while (batcher_->RunOnce()) {
    }
  }

  std::unique_ptr<DetectTask> Task(const std::string& name, TaskScript script = {}) {
    return std::make_unique<TestTask>(name, std::move(script), ends_);
  }
  absl::Status Submit(uint64_t caller, const std::string& name, TaskScript script = {}) {
    std::unique_ptr<DetectTask> task = Task(name, std::move(script));
    return batcher_->Submit(caller, absl::MakeSpan(&task, 1));
  }
  void RunAll() {
    while (batcher_->RunOnce()) {
    }
  }

  FakeClock clock_;
  DetectBatcherOptions options_;
  RecordingDetectObserver observer_;
  Ends ends_;
  std::unique_ptr<FakeDetector> detector_;
  std::unique_ptr<DetectBatcher> batcher_;
};

TEST_F(DetectBatcherTest, APictureIsPreparedAndComputedInOneGo) {
  FakeDetectorOptions detector;
  detector.batch_cost = absl::Milliseconds(3);
  Make(detector);
  TaskScript script;
  script.while_preparing = [this] { clock_.Advance(absl::Milliseconds(2)); };
  ASSERT_TRUE(Submit(1, "a", script).ok());
  clock_.Advance(absl::Milliseconds(1));
  EXPECT_TRUE(batcher_->RunOnce());
  EXPECT_FALSE(batcher_->RunOnce());
  ASSERT_THAT(ends_.order, ElementsAre("a"));
  EXPECT_TRUE(ends_.status["a"].ok());
  ASSERT_EQ(ends_.detections["a"].size(), 1u);
  EXPECT_EQ(ends_.times["a"].queue, absl::Milliseconds(1));
  EXPECT_EQ(ends_.times["a"].prepare, absl::Milliseconds(2));
  EXPECT_EQ(ends_.times["a"].network, absl::Milliseconds(3));
  EXPECT_EQ(ends_.num_destroyed, 1);
}

TEST_F(DetectBatcherTest, ACallWithManyPicturesDelaysAnotherByOnePicture) {
  Make();
  for (const char* name : {"a1", "a2", "a3", "a4"}) ASSERT_TRUE(Submit(1, name).ok());
  ASSERT_TRUE(Submit(2, "b1").ok());
  ASSERT_TRUE(Submit(3, "c1").ok());
  ASSERT_TRUE(Submit(3, "c2").ok());
  RunAll();
  EXPECT_THAT(ends_.order, ElementsAre("a1", "b1", "c1", "a2", "c2", "a3", "a4"));
}

TEST_F(DetectBatcherTest, ABatchFillsWithPicturesOfSeveralCallers) {
  Make(Lanes(1, 4, 4));
  for (uint64_t caller = 1; caller <= 4; ++caller) {
    ASSERT_TRUE(Submit(caller, std::string(1, static_cast<char>('a' + caller))).ok());
  }
  RunAll();
  EXPECT_THAT(observer_.batches, ElementsAre(4));
  EXPECT_EQ(ends_.order.size(), 4u);
}

TEST_F(DetectBatcherTest, ABatchWaitsForOthersUpToTheBoundAndNotLonger) {
  options_.max_wait = absl::Milliseconds(5);
  Make(Lanes(1, 4, 4));
  ASSERT_TRUE(Submit(1, "a").ok());
  RunAll();
  EXPECT_TRUE(ends_.order.empty());
  clock_.Advance(absl::Milliseconds(4));
  ASSERT_TRUE(Submit(2, "b").ok());
  RunAll();
  EXPECT_TRUE(ends_.order.empty());
  clock_.Advance(absl::Milliseconds(1));
  EXPECT_TRUE(batcher_->RunOnce());
  EXPECT_THAT(ends_.order, ElementsAre("a", "b"));
  EXPECT_THAT(observer_.batches, ElementsAre(2));
  EXPECT_EQ(ends_.times["a"].queue, absl::Milliseconds(5));
  EXPECT_EQ(ends_.times["b"].queue, absl::Milliseconds(1));
}

TEST_F(DetectBatcherTest, ABatchHasOneSize) {
  Make(Lanes(1, 4, 2));
  TaskScript small, large;
  small.side = 32;
  large.side = 96;
  ASSERT_TRUE(Submit(1, "s1", small).ok());
  ASSERT_TRUE(Submit(2, "l1", large).ok());
  ASSERT_TRUE(Submit(3, "s2", small).ok());
  ASSERT_TRUE(Submit(4, "l2", large).ok());
  RunAll();
  EXPECT_THAT(ends_.order, ElementsAre("s1", "s2", "l1", "l2"));
  const auto batches = detector_->batches();
  ASSERT_EQ(batches.size(), 2u);
  EXPECT_EQ(batches[0].width, 32);
  EXPECT_EQ(batches[1].height, 96);
}

TEST_F(DetectBatcherTest, AFullHouseIsRefusedWholeAndSaysWhenToComeBack) {
  options_.max_pictures = 3;
  Make();
  ASSERT_TRUE(Submit(1, "a").ok());
  ASSERT_TRUE(Submit(1, "b").ok());
  std::vector<std::unique_ptr<DetectTask>> two;
  two.push_back(Task("c"));
  two.push_back(Task("d"));
  const absl::Status status = batcher_->Submit(2, absl::MakeSpan(two));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("over 3"));
  EXPECT_GT(RetryAfter(status).value(), absl::ZeroDuration());
  EXPECT_NE(two[0], nullptr);  // still the caller's
  EXPECT_EQ(observer_.num_rejected, 1);
  RunAll();
  EXPECT_TRUE(batcher_->Submit(2, absl::MakeSpan(two)).ok());
  RunAll();
  EXPECT_THAT(ends_.order, ElementsAre("a", "b", "c", "d"));
}

TEST_F(DetectBatcherTest, BytesAreBoundedToo) {
  options_.max_bytes = 100;
  Make();
  TaskScript script;
  script.facts.bytes = 60;
  ASSERT_TRUE(Submit(1, "a", script).ok());
  const absl::Status status = Submit(1, "b", script);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("over 100"));
  RunAll();
  EXPECT_TRUE(Submit(1, "b", script).ok());
}

TEST_F(DetectBatcherTest, ADeadlineThatHasPassedCostsNoComputation) {
  Make();
  TaskScript script;
  script.facts.deadline = clock_.Now() + absl::Milliseconds(5);
  bool prepared = false;
  script.while_preparing = [&prepared] { prepared = true; };
  ASSERT_TRUE(Submit(1, "late", script).ok());
  clock_.Advance(absl::Milliseconds(5));
  RunAll();
  EXPECT_EQ(ends_.status["late"].code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_FALSE(prepared);
  EXPECT_EQ(detector_->num_pictures(), 0);
}

TEST_F(DetectBatcherTest, ADeadlineThatPassesWhilePreparingSparesTheNetwork) {
  Make();
  TaskScript script;
  script.facts.deadline = clock_.Now() + absl::Milliseconds(5);
  script.while_preparing = [this] { clock_.Advance(absl::Milliseconds(6)); };
  ASSERT_TRUE(Submit(1, "late", script).ok());
  RunAll();
  EXPECT_EQ(ends_.status["late"].code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(detector_->num_pictures(), 0);
  ASSERT_TRUE(Submit(1, "next").ok());  // the lane is free again
  RunAll();
  EXPECT_TRUE(ends_.status["next"].ok());
}

TEST_F(DetectBatcherTest, AnAbandonedPictureIsNotComputed) {
  Make();
  std::atomic<bool> abandoned{false};
  TaskScript gone;
  gone.abandoned = &abandoned;
  gone.while_preparing = [&abandoned] { abandoned = true; };
  ASSERT_TRUE(Submit(1, "while preparing", gone).ok());
  ASSERT_TRUE(Submit(1, "while waiting", gone).ok());
  RunAll();
  EXPECT_EQ(ends_.status["while preparing"].code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(ends_.status["while waiting"].code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(detector_->num_pictures(), 0);
}

TEST_F(DetectBatcherTest, WithdrawnPicturesAreGivenBackAndMakeRoom) {
  options_.max_pictures = 3;
  Make();
  ASSERT_TRUE(Submit(1, "a1").ok());
  ASSERT_TRUE(Submit(2, "b1").ok());
  ASSERT_TRUE(Submit(1, "a2").ok());
  EXPECT_EQ(batcher_->Withdraw(1).size(), 2u);
  EXPECT_TRUE(batcher_->Withdraw(1).empty());
  EXPECT_EQ(observer_.load.num_waiting, 1);
  ASSERT_TRUE(Submit(1, "a3").ok());
  RunAll();
  EXPECT_THAT(ends_.order, ElementsAre("b1", "a3"));
}

TEST_F(DetectBatcherTest, ARenewedPictureKeepsItsPlaceInLine) {
  options_.max_pictures = 3;
  Make();
  ASSERT_TRUE(Submit(1, "live 1").ok());
  ASSERT_TRUE(Submit(2, "b").ok());
  ASSERT_TRUE(Submit(3, "c").ok());
  for (const char* name : {"live 2", "live 3"}) {
    std::unique_ptr<DetectTask> task = Task(name);
    std::vector<std::unique_ptr<DetectTask>> replaced;
    ASSERT_TRUE(batcher_->Replace(1, task, &replaced).ok());  // though the house is full
    EXPECT_EQ(replaced.size(), 1u);
  }
  std::unique_ptr<DetectTask> other = Task("d");
  std::vector<std::unique_ptr<DetectTask>> replaced;
  EXPECT_EQ(batcher_->Replace(4, other, &replaced).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(other, nullptr);
  RunAll();
  EXPECT_THAT(ends_.order, ElementsAre("live 3", "b", "c"));
}

TEST_F(DetectBatcherTest, APictureThatCannotBeReadFailsAlone) {
  Make(Lanes(1, 2, 2));
  TaskScript bad;
  bad.prepare = absl::InvalidArgumentError("not a picture");
  ASSERT_TRUE(Submit(1, "good 1").ok());
  ASSERT_TRUE(Submit(1, "bad", bad).ok());
  ASSERT_TRUE(Submit(1, "good 2").ok());
  RunAll();
  EXPECT_EQ(ends_.status["bad"].message(), "not a picture");
  EXPECT_TRUE(ends_.status["good 1"].ok());
  EXPECT_TRUE(ends_.status["good 2"].ok());
  EXPECT_THAT(observer_.batches, ElementsAre(2));
}

TEST_F(DetectBatcherTest, AnItemThatTheDetectorFailsFailsAlone) {
  Make(Lanes(1, 2, 2));
  detector_->FailWhen([](const DetectItem& item) {
    return item.pixels[0] == 200 ? absl::DataLossError("NaN") : absl::OkStatus();
  });
  TaskScript bad;
  bad.red = 200;
  ASSERT_TRUE(Submit(1, "good").ok());
  ASSERT_TRUE(Submit(1, "bad", bad).ok());
  RunAll();
  EXPECT_TRUE(ends_.status["good"].ok());
  EXPECT_EQ(ends_.detections["good"].size(), 1u);
  EXPECT_EQ(ends_.status["bad"].code(), absl::StatusCode::kDataLoss);
}

TEST_F(DetectBatcherTest, PixelsUnderPreparationAreBounded) {
  options_.max_pixels = 100;
  options_.num_threads = 2;
  Make();
  TaskScript first, large, small;
  first.facts.pixels = 60;
  large.facts.pixels = 500;  // above the bound: alone, but not never
  small.facts.pixels = 10;
  bool other_worker_had_work = true;
  first.while_preparing = [&] { other_worker_had_work = batcher_->RunOnce(); };
  ASSERT_TRUE(Submit(1, "first", first).ok());
  ASSERT_TRUE(Submit(1, "large", large).ok());
  ASSERT_TRUE(Submit(1, "small", small).ok());
  RunAll();
  EXPECT_FALSE(other_worker_had_work);
  EXPECT_THAT(ends_.order, ElementsAre("first", "large", "small"));
}

TEST_F(DetectBatcherTest, WorkersPrepareTheNextBatchWhileALaneComputesAndNotMore) {
  options_.num_threads = 2;
  Make(Lanes(1, 2, 2));
  int prepared_meanwhile = 0;
  bool once = false;
  detector_->HoldWith([&] {
    if (std::exchange(once, true)) return;
    while (batcher_->RunOnce()) ++prepared_meanwhile;  // the other worker
  });
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(Submit(1, std::to_string(i)).ok());
  RunAll();
  EXPECT_EQ(prepared_meanwhile, 4);  // two batches
  EXPECT_EQ(ends_.order.size(), 10u);
  EXPECT_THAT(observer_.batches, testing::Each(2));
}

TEST_F(DetectBatcherTest, DrainingRefusesNewPicturesAndFinishesThoseThatAreIn) {
  options_.max_wait = absl::Hours(1);
  Make(Lanes(1, 4, 4));
  ASSERT_TRUE(Submit(1, "in").ok());
  batcher_->Drain(clock_.Now() + absl::Seconds(10));
  const absl::Status status = Submit(1, "out");
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(RetryAfter(status).has_value());
  EXPECT_FALSE(batcher_->Drained());
  RunAll();  // no waiting for a batch to fill
  EXPECT_TRUE(ends_.status["in"].ok());
  EXPECT_TRUE(batcher_->Drained());
}

TEST_F(DetectBatcherTest, WhatStillWaitsAtTheDrainDeadlineEndsUnavailable) {
  Make();
  ASSERT_TRUE(Submit(1, "a").ok());
  ASSERT_TRUE(Submit(2, "b").ok());
  batcher_->Drain(clock_.Now() + absl::Seconds(1));
  clock_.Advance(absl::Seconds(1));
  RunAll();
  EXPECT_EQ(ends_.status["a"].code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ends_.status["b"].code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(detector_->num_pictures(), 0);
  EXPECT_TRUE(batcher_->Drained());
}

TEST_F(DetectBatcherTest, TheTimeToComeBackFollowsTheMeasuredPace) {
  options_.max_pictures = 10;
  FakeDetectorOptions detector;
  detector.batch_cost = absl::Milliseconds(50);
  Make(detector);
  for (int i = 0; i < 11; ++i) {
    ASSERT_TRUE(Submit(1, "x").ok());
    RunAll();
  }
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(Submit(1, "x").ok());
  EXPECT_EQ(RetryAfter(Submit(1, "y")).value(), absl::Milliseconds(500));
}

TEST_F(DetectBatcherTest, OptionsOutOfRangeAreNamed) {
  options_.max_pictures = 0;
  FakeDetector detector;
  const auto batcher = DetectBatcher::Create(options_, detector, observer_, clock_);
  EXPECT_EQ(batcher.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(batcher.status().message()), HasSubstr("max_pictures is 0"));
}

class SilentDetectObserver final : public DetectObserver {
 public:
  void OnLoad(const DetectLoad&) override {}
  void OnBatch(int32_t, const DetectTimes&) override {}
  void OnPicture(const absl::Status&, const DetectOutput&, const PictureTimes&) override {}
  void OnRejected(const absl::Status&) override {}
};

// Every picture ends once, whatever the number of threads, lanes and callers.
TEST(DetectThreadsTest, EveryPictureEndsOnce) {
  for (const int32_t preferred_batch : {1, 3}) {
    constexpr int kCallers = 4, kPictures = 50;
    FakeDetector detector(Lanes(2, 4, preferred_batch));
    SilentDetectObserver observer;
    const RealClock clock;
    DetectBatcherOptions options;
    options.num_threads = 3;
    options.max_wait = absl::Microseconds(200);
    auto batcher = *DetectBatcher::Create(options, detector, observer, clock);
    DetectThreads threads(*batcher, options.num_threads);
    Ends ends;
    std::atomic<int> num_withdrawn{0}, num_submitted{0};
    std::vector<std::thread> callers;
    for (int c = 0; c < kCallers; ++c) {
      callers.emplace_back([&, c] {
        const uint64_t caller = batcher->NewCaller();
        for (int i = 0; i < kPictures; ++i) {
          std::unique_ptr<DetectTask> task =
              std::make_unique<TestTask>(std::to_string(c * kPictures + i), TaskScript(), ends);
          if (batcher->Submit(caller, absl::MakeSpan(&task, 1)).ok()) ++num_submitted;
          if (i % 10 == 9) num_withdrawn += static_cast<int>(batcher->Withdraw(caller).size());
        }
      });
    }
    for (std::thread& caller : callers) caller.join();
    threads.DrainAndJoin(absl::Minutes(1));
    EXPECT_EQ(num_submitted, kCallers * kPictures);
    EXPECT_EQ(static_cast<int>(ends.order.size()) + num_withdrawn, num_submitted);
    EXPECT_EQ(ends.status.size(), ends.order.size());  // no name twice
    for (const auto& [name, status] : ends.status) EXPECT_TRUE(status.ok()) << name << status;
    EXPECT_EQ(ends.num_destroyed, num_submitted);
  }
}

}  // namespace
}  // namespace ela
