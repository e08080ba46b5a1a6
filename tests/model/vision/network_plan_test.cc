#include "model/vision/network_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "model/vision/detector_config.h"

namespace ela {
namespace {

using ::testing::HasSubstr;

DetectorConfig Config(DetectorVariant variant, int num_classes) {
  DetectorConfig config;
  config.variant = variant;
  for (int i = 0; i < num_classes; ++i) config.class_names.push_back(std::to_string(i));
  return config;
}

TEST(NetworkPlanTest, PaperVariantsHaveThePapersParameters) {
  EXPECT_EQ(NumTrainedParameters(MakeNetworkPlan(Config(DetectorVariant::kLat, 1))), 316438);
  EXPECT_EQ(NumTrainedParameters(MakeNetworkPlan(Config(DetectorVariant::kLatDsc, 1))), 212710);
}

TEST(NetworkPlanTest, OwnVariantStaysWithinItsBudget) {
  const NetworkPlan plan = MakeNetworkPlan(Config(DetectorVariant::kLatMs, 3));
  EXPECT_LE(NumInferenceParameters(plan), 320000);
  EXPECT_LE(NumMultiplyAdds(plan, 320, 320), 150000000);
  ASSERT_EQ(plan.outputs.size(), 3u);
  EXPECT_EQ(plan.outputs[0].stride, 8);
  EXPECT_EQ(plan.outputs[2].stride, 32);
  RecordProperty("parameters", std::to_string(NumInferenceParameters(plan)));
  RecordProperty("multiply_adds", std::to_string(NumMultiplyAdds(plan, 320, 320)));
}

TEST(NetworkPlanTest, LayersFitTogetherAndTensorNamesAreUnique) {
  for (DetectorVariant variant :
       {DetectorVariant::kLat, DetectorVariant::kLatDsc, DetectorVariant::kLatMs}) {
    const NetworkPlan plan = MakeNetworkPlan(Config(variant, 3));
    for (size_t i = 0; i < plan.layers.size(); ++i) {
      const Layer& layer = plan.layers[i];
      ASSERT_LT(layer.inputs[0], static_cast<int>(i)) << layer.name;
      ASSERT_LT(layer.inputs[1], static_cast<int>(i)) << layer.name;
      if (layer.inputs[0] >= 0) {
        EXPECT_EQ(plan.layers[layer.inputs[0]].out_channels, layer.in_channels) << layer.name;
      }
      if (layer.inputs[1] >= 0) {
        EXPECT_EQ(plan.layers[layer.inputs[1]].out_channels, layer.out_channels) << layer.name;
        EXPECT_EQ(plan.layers[layer.inputs[1]].reduction, layer.reduction) << layer.name;
      }
    }
    std::set<std::string> names;
    for (const TensorSpec& tensor : ExpectedTensors(plan)) {
      EXPECT_TRUE(names.insert(tensor.name).second) << tensor.name;
    }
  }
}

TEST(DetectorConfigTest, ReadsBackWhatItWrites) {
  DetectorConfig config = Config(DetectorVariant::kLatMs, 0);
  config.class_names = {"RBC", "WBC", "Platelets"};
  config.input_width = 640;
  config.input_height = 352;
  config.fit = FitMode::kStretch;
  config.shape.blocks = {1, 3, 3};
  config.shape.context = ContextKind::kSoftmax;
  const auto read = ParseDetectorConfig(ToJson(config), "config.json");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(ToJson(*read), ToJson(config));
  EXPECT_EQ(read->input_height, 352);
  EXPECT_THAT(ToJson(config), HasSubstr("\"iou_threshold\": 0.6,"));
}

TEST(DetectorConfigTest, ReportsEveryProblemAtOnce) {
  const auto read = ParseDetectorConfig(
      R"({"model_type": "yolo_lat", "variant": "lat-ms", "num_classes": 2,
          "class_names": ["a", "a", "b"], "input_size": 330, "fit": "crop",
          "score_threshold": 2, "shape": {"neck": 60, "widths": [64, 96]}, "colour": 1})",
      "config.json");
  ASSERT_FALSE(read.ok());
  for (const char* sentence :
       {"class_names holds \"a\" twice", "num_classes is 2, but class_names has 3",
        "input_size is 330, lat-ms takes multiples of 32", "fit is \"crop\"",
        "score_threshold is 2", "shape.neck is 60, not a multiple of 8",
        "shape.widths must be a list of 3 integers", "colour is not a known key"}) {
    EXPECT_THAT(read.status().message(), HasSubstr(sentence));
  }
}

TEST(DetectorConfigTest, AnotherModelTypeIsRefused) {
  const auto read = ParseDetectorConfig(R"({"model_type": "ela_gpt", "num_classes": 1})", "c");
  ASSERT_FALSE(read.ok());
  EXPECT_THAT(read.status().message(), HasSubstr("model_type is \"ela_gpt\""));
}

}  // namespace
}  // namespace ela
