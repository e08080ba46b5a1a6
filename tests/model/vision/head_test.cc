#include "model/vision/head.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace ela {
namespace {

using ::testing::HasSubstr;

// One scale of `channels` channels in channels-first order, all values `fill`.
struct OwnedMap {
  OwnedMap(int channels, int rows, int columns, float fill)
      : rows(rows), columns(columns), values(channels * rows * columns, fill) {}
  float& at(int channel, int row, int column) {
    return values[(channel * rows + row) * columns + column];
  }
  MapView View() const { return {values.data(), rows * columns, columns, 1}; }
  int rows, columns;
  std::vector<float> values;
};

TEST(HeadTest, PapersHeadPutsBoxesOfAtMostTwoCellsAroundTheirCell) {
  OwnedMap map(6, 2, 3, 0.0f);
  map.at(0, 1, 2) = 2.0f;
  map.at(3, 1, 2) = 100.0f;  // as wide as it gets
  HeadReading reading;
  const HeadMaps maps{map.View(), {}, 2, 3, 16};
  ASSERT_TRUE(ReadHead(DetectorVariant::kLat, 1, {&maps, 1}, 0.6f, &reading).ok());
  ASSERT_EQ(reading.boxes.size(), 1u);
  const Box box = reading.boxes[0];
  EXPECT_FLOAT_EQ(box.x1 - box.x0, 32.0f);
  EXPECT_FLOAT_EQ(box.y1 - box.y0, 16.0f);
  EXPECT_FLOAT_EQ((box.x0 + box.x1) / 2, 40.0f);
  EXPECT_FLOAT_EQ((box.y0 + box.y1) / 2, 24.0f);
  EXPECT_FLOAT_EQ(reading.scores[0], 1 / (1 + std::exp(-2.0f)));
}

TEST(HeadTest, PapersHeadSharesObjectnessAmongClassesBySoftmax) {
  OwnedMap map(8, 1, 1, 0.0f);
  map.at(6, 0, 0) = std::log(2.0f);
  HeadReading reading;
  const HeadMaps maps{map.View(), {}, 1, 1, 16};
  ASSERT_TRUE(ReadHead(DetectorVariant::kLatDsc, 3, {&maps, 1}, 0, &reading).ok());
  ASSERT_EQ(reading.scores.size(), 3u);
  EXPECT_FLOAT_EQ(reading.scores[0], 0.125f);
  EXPECT_FLOAT_EQ(reading.scores[1], 0.25f);
  EXPECT_FLOAT_EQ(reading.scores[2], 0.125f);
}

TEST(HeadTest, DistancesReachFromTheCellsCentreWithoutLimit) {
  OwnedMap scores(2, 2, 2, -9.0f), distances(4, 2, 2, 0.0f);
  scores.at(1, 0, 1) = 0.0f;
  const float raw[4] = {0.0f, 1.0f, 30.0f, -30.0f};
  for (int i = 0; i < 4; ++i) distances.at(i, 0, 1) = raw[i];
  HeadReading reading;
  const HeadMaps maps{scores.View(), distances.View(), 2, 2, 8};
  ASSERT_TRUE(ReadHead(DetectorVariant::kLatMs, 2, {&maps, 1}, 0.5f, &reading).ok());
  ASSERT_EQ(reading.boxes.size(), 1u);
  EXPECT_FLOAT_EQ(reading.boxes[0].x0, 12.0f - 8 * std::log(2.0f));
  EXPECT_FLOAT_EQ(reading.boxes[0].y0, 4.0f - 8 * std::log1p(std::exp(1.0f)));
  EXPECT_FLOAT_EQ(reading.boxes[0].x1, 12.0f + 8 * 30.0f);
  EXPECT_FLOAT_EQ(reading.boxes[0].y1, 4.0f);
  EXPECT_EQ(reading.scores[1], 0.5f);  // equal to the threshold: kept
}

TEST(HeadTest, MemoryOrderMakesNoDifference) {
  const int rows = 3, columns = 5, channels = 7;
  OwnedMap first(channels, rows, columns, 0.0f);
  std::vector<float> last(first.values.size());
  for (size_t i = 0; i < first.values.size(); ++i) {
    first.values[i] = std::sin(static_cast<float>(i));
  }
  for (int c = 0; c < channels; ++c) {
    for (int r = 0; r < rows; ++r) {
      for (int x = 0; x < columns; ++x) last[(r * columns + x) * channels + c] = first.at(c, r, x);
    }
  }
  HeadReading a, b;
  const HeadMaps one{first.View(), {}, rows, columns, 16};
  const HeadMaps other{{last.data(), 1, columns * channels, channels}, {}, rows, columns, 16};
  ASSERT_TRUE(ReadHead(DetectorVariant::kLat, 2, {&one, 1}, 0.3f, &a).ok());
  ASSERT_TRUE(ReadHead(DetectorVariant::kLat, 2, {&other, 1}, 0.3f, &b).ok());
  EXPECT_GT(a.boxes.size(), 0u);
  EXPECT_LT(a.boxes.size(), 15u);
  EXPECT_EQ(a.scores, b.scores);
}

TEST(HeadTest, AThresholdOfZeroKeepsEveryPlaceAndOneKeepsCertainOnes) {
  OwnedMap scores(1, 1, 2, -200.0f), distances(4, 1, 2, 0.0f);
  scores.at(0, 0, 1) = 50.0f;
  const HeadMaps maps{scores.View(), distances.View(), 1, 2, 8};
  HeadReading reading;
  ASSERT_TRUE(ReadHead(DetectorVariant::kLatMs, 1, {&maps, 1}, 0, &reading).ok());
  EXPECT_EQ(reading.boxes.size(), 2u);
  ASSERT_TRUE(ReadHead(DetectorVariant::kLatMs, 1, {&maps, 1}, 1, &reading).ok());
  EXPECT_EQ(reading.boxes.size(), 1u);
}

TEST(HeadTest, WhatIsNotFiniteIsDataLossThatNamesThePlace) {
  for (float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (int channel = 0; channel < 8; ++channel) {
      OwnedMap map(8, 2, 2, 5.0f);
      map.at(channel, 1, 0) = bad;
      HeadReading reading;
      const HeadMaps maps{map.View(), {}, 2, 2, 16};
      const absl::Status status = ReadHead(DetectorVariant::kLat, 3, {&maps, 1}, 0.25f, &reading);
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << channel;
      EXPECT_THAT(std::string(status.message()), HasSubstr("row 1, column 0"));
      EXPECT_TRUE(reading.boxes.empty());
    }
    OwnedMap scores(2, 1, 1, 5.0f), distances(4, 1, 1, 0.0f);
    distances.at(3, 0, 0) = bad;
    HeadReading reading;
    const HeadMaps maps{scores.View(), distances.View(), 1, 1, 32};
    EXPECT_EQ(ReadHead(DetectorVariant::kLatMs, 2, {&maps, 1}, 0.25f, &reading).code(),
              absl::StatusCode::kDataLoss);
    distances.at(3, 0, 0) = 0;
    scores.at(0, 0, 0) = bad;
    EXPECT_EQ(ReadHead(DetectorVariant::kLatMs, 2, {&maps, 1}, 0.25f, &reading).code(),
              absl::StatusCode::kDataLoss);
  }
}

}  // namespace
}  // namespace ela
