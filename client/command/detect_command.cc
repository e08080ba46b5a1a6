// `ela detect`: objects in pictures, as a table, as JSON, or drawn.
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/command/command.h"
#include "client/command/command_line.h"
#include "client/command/detect_job.h"
#include "client/command/picture_list.h"

namespace ela::client {
namespace {

struct DetectCommand {
  std::vector<std::string> arguments;
  std::string draw;
  bool class_agnostic = false;
  DetectJobOptions job;
};

// "640" or "640x480". False: it is neither.
bool ParseSize(const std::string& text, DetectOptions* options) {
  const std::vector<std::string> sides = absl::StrSplit(text, 'x');
  uint32_t width = 0, height = 0;
  if (sides.size() > 2 || !absl::SimpleAtoi(sides.front(), &width) ||
      !absl::SimpleAtoi(sides.back(), &height)) {
    return false;
  }
  options->input_width = width;
  options->input_height = height;
  return true;
}

ExitCode Run(const Command& command, DetectCommand& options) {
  options.job.json = command.json;
  if (options.class_agnostic) options.job.detect.class_agnostic = true;
  const absl::StatusOr<PictureList> list = ListPictures(options.arguments, options.draw);
  if (!list.ok()) {
    Report(list.status());
    return kExitUsage;
  }
  for (const std::string& fault : list->faults) PrintError(fault);
  absl::StatusOr<std::unique_ptr<Client>> client = command.Connect();
  if (!client.ok()) return Report(client.status());
  // Tells a wrong model or an absent server before a file is read, and the limits.
  const absl::StatusOr<DetectorDescription> detector = (*client)->DescribeDetector();
  if (!detector.ok()) return Report(detector.status());
  return DetectJob(**client, *detector, *list, options.job).Run();
}

}  // namespace

void AddDetectCommand(CLI::App& app, Command& command) {
  auto options = std::make_shared<DetectCommand>();  // owned by the callback below
  DetectOptions& asked = options->job.detect;
  CLI::App* const detect = app.add_subcommand("detect", "Find objects in pictures");
  detect->footer(R"(
Pictures are JPEG or PNG, told by content. Boxes are pixels of the picture as a person sees it, from
its upper left corner. A picture that cannot be read is named and left out (exit code 3). A drawing
never replaces one of the pictures. --model, --json and --server are in `ela --help`.

Examples:
  ela detect photo.jpg
  ela detect photo.jpg --draw out.png
  ela detect photos/ --draw boxes/ --threshold 0.5
  ela detect photos/ --json | jq -r '[.image, (.objects | length)] | @tsv'
  curl -s https://example.org/photo.jpg | ela detect - --classes cat,dog)");
  detect->add_option("pictures", options->arguments, "Files, folders; - is standard input")
      ->required();
  detect->add_option("--draw", options->draw, "Draw the boxes into this file, or folder")
      ->check(CLI::Validator(
          [](std::string& path) { return std::string(path.empty() ? "no file is named" : ""); },
          ""));
  detect->add_option("-t,--threshold", asked.score_threshold,
                     "Least score, 0 to 1 (default: the model's)");
  detect->add_option("--iou", asked.iou_threshold,
                     "Of boxes that overlap more, the best stays; 0 to 1 (default: the model's)");
  detect->add_option("--max", asked.max_detections, "Most objects of a picture")
      ->check(WholeNumber<uint32_t>());
  detect->add_option("--classes", asked.classes, "Only these classes: a,b")
      ->delimiter(',')
      ->allow_extra_args(false);
  detect->add_flag("--class-agnostic", options->class_agnostic,
                   "Boxes of different classes suppress each other too");
  detect->add_option_function<std::string>(
      "--input-size",
      [&asked](const std::string& text) {
        if (ParseSize(text, &asked)) return;
        throw CLI::ValidationError(
            "--input-size", absl::StrCat("is \"", text, "\", it must be pixels: 640 or 640x480"));
      },
      "Pixels of the network's input, 640 or 640x480: more finds smaller objects");
  detect->add_option("-c,--concurrency", options->job.concurrency, "Pictures at a time")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  detect->callback([&command, options] { command.exit_code = Run(command, *options); });
}

}  // namespace ela::client
