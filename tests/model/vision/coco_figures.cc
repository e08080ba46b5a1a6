// Reads cases (coco_case.h) from standard input, one a line; writes the twelve figures of each.
#include <cstdio>
#include <iostream>
#include <string>

#include "tests/model/vision/coco_case.h"

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    const nlohmann::json json = nlohmann::json::parse(line);
    const auto result = ela::EvaluateCoco(ela::CocoCase(json), json.at("num_classes"));
    if (!result.ok()) {
      std::fprintf(stderr, "%s\n", std::string(result.status().message()).c_str());
      return 1;
    }
    std::string separator;
    for (const double value : ela::CocoStats(*result)) {
      std::printf("%s%.17g", separator.c_str(), value);
      separator = " ";
    }
    std::printf("\n");
  }
}
