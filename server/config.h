// What an operator can set: one table of settings serves the config file, the flags, the effective
// config in the log and docs/server.md. Flags win over the file, the file over the defaults.
#ifndef ELA_SERVER_CONFIG_H_
#define ELA_SERVER_CONFIG_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "scheduler/engine.h"

namespace ela {

struct ModelOptions {
  std::string name;       // as requests say it; default: the directory's last component
  std::string directory;  // of the checkpoint
  int64_t slots = 0;      // sequences at once; 0: ServerConfig::slots
};

struct ServerConfig {
  std::string listen = "127.0.0.1:50051";
  std::string metrics_listen = "127.0.0.1:9464";
  std::string ready_file;
  std::string log_level = "info";
  int64_t slots = 64;
  int64_t threads = 0;
  int64_t max_queue = 1024;
  int64_t max_queue_tokens = 4 << 20;
  int64_t max_prompt_tokens = 1 << 20;
  int64_t max_new_tokens = 65536;
  int64_t max_logit_tokens = 512;
  int64_t max_message_bytes = 16 << 20;
  int64_t max_streams = 1024;
  int64_t stream_buffer_tokens = 256;
  int64_t max_images = 64;
  int64_t max_image_bytes = 16 << 20;
  int64_t max_image_side = 16384;
  int64_t max_image_pixels = 40'000'000;
  int64_t max_request_pixels = 160'000'000;
  int64_t max_queued_images = 256;
  int64_t max_queued_image_bytes = 256 << 20;
  double batch_wait_seconds = 0.002;
  int64_t step_tokens = 256;
  int64_t prefill_chunk = 128;
  double drain_seconds = 20;
  double slow_reader_seconds = 30;
  std::vector<ModelOptions> models;    // the first is the default model
  std::vector<TenantOptions> tenants;  // empty: the metadata `ela-tenant` is ignored
};

// One scalar of ServerConfig. Its flag is the key with '-' for '_'.
struct Setting {
  absl::string_view key;
  std::variant<std::string ServerConfig::*, int64_t ServerConfig::*, double ServerConfig::*> field;
  double min, max;  // of a number
  absl::string_view help;
};
absl::Span<const Setting> Settings();

// Sets one value from its text (a flag). Errors: kInvalidArgument, names key, value and range.
absl::Status SetFromText(const Setting& setting, absl::string_view text, ServerConfig* config);

// Lays a config file's values over `config`. Reports every problem at once; an unknown key comes
// with the nearest known one. Errors: kNotFound, kInvalidArgument.
absl::Status ApplyConfigFile(const std::string& path, ServerConfig* config);
absl::Status ApplyConfigText(absl::string_view json, absl::string_view origin,
                             ServerConfig* config);

// What no single value shows: a model is named, names are unique, a chunk fits in a step. Fills in
// absent model names and slots. Errors: kInvalidArgument, all problems, one per line.
absl::Status CompleteConfig(ServerConfig* config);

std::string ToJson(const ServerConfig& config);     // indented; ApplyConfigText reads it back
std::string ToLogLine(const ServerConfig& config);  // key=value, in the table's order

}  // namespace ela

#endif  // ELA_SERVER_CONFIG_H_
