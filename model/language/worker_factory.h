// The only header of this folder that a server's main includes: makes the serving worker of a
// checkpoint.
#ifndef ELA_MODEL_LANGUAGE_WORKER_FACTORY_H_
#define ELA_MODEL_LANGUAGE_WORKER_FACTORY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/config.h"
#include "model/worker.h"

namespace ela {

struct LobeSource {
  std::string name;
  std::string directory;
};

struct LanguageWorkerOptions {
  std::string directory;          // of the checkpoint
  int32_t num_slots = 64;         // states in the pool
  int32_t max_step_tokens = 512;  // tokens over all items of a step; sizes the scratch
  int32_t num_threads = 0;        // 0: one per core that this process may use
  // With a lobe that sees ahead (prefix, bidirectional), tokens of a prompt segment. Between its
  // passes each takes 8·d bytes and a little of scratch beside the slots.
  int64_t max_segment_tokens = 8192;
  int64_t max_scratch_tokens = 0;  // of all such segments together; 0: no further limit
  // Pluggable lobes to begin with. Slots have room for these, and prompts run in passes if one of
  // them sees ahead; what is added later has to get along with that.
  std::vector<LobeSource> lobes;
  // Slots have room for lobes of every kernel, whatever comes later: up to the size of one head.
  bool any_lobe = false;
  std::string
      kernels;  // "", "portable", "reference": for tests and bug reports; empty: the fastest
};

// Loads config and weights, allocates pool and scratch: nothing is allocated per step after this.
// Errors: kNotFound, kInvalidArgument, kDataLoss (checkpoint), kResourceExhausted (memory: names
// bytes needed).
absl::StatusOr<std::unique_ptr<Worker>> CreateLanguageWorker(const LanguageWorkerOptions& options);

}  // namespace ela

#endif  // ELA_MODEL_LANGUAGE_WORKER_FACTORY_H_
