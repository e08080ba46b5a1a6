// One model as it is served: its worker, its engine on a thread of its own, and the facts that
// requests are checked against.
#ifndef ELA_SERVER_SERVED_MODEL_H_
#define ELA_SERVER_SERVED_MODEL_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/config.h"
#include "model/tokenizer.h"
#include "model/worker.h"
#include "scheduler/clock.h"
#include "scheduler/engine.h"
#include "scheduler/engine_thread.h"
#include "server/config.h"
#include "server/model_card.h"
#include "server/model_metrics.h"

namespace ela {

// What is loaded from a checkpoint directory; a test brings a fake worker.
struct ModelParts {
  std::string name;
  LanguageConfig config;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Worker> worker;
};

// kInvalidArgument, naming both numbers, when the tokenizer has more tokens than the vocabulary.
absl::Status CheckTokenizer(const ModelParts& parts);

// Thread-safe, but for Drain.
class ServedModel {
 public:
  // Starts the engine's thread. Borrows metrics and clock. Errors: kInvalidArgument (the parts do
  // not fit together: a tokenizer that is larger than the vocabulary; engine options).
  static absl::StatusOr<std::unique_ptr<ServedModel>> Create(ModelParts parts,
                                                             const ServerConfig& config,
                                                             ModelMetrics& metrics,
                                                             const Clock& clock);

  const ModelCard& card() const { return card_; }
  Engine& engine() { return *engine_; }
  ModelMetrics& metrics() { return metrics_; }

  // Refuses new requests from now on; JoinBy waits for the running ones and ends the rest at
  // `deadline`.
  void BeginDrain(absl::Time deadline) { engine_->Drain(deadline); }
  void JoinBy(absl::Time deadline);

 private:
  ServedModel(ModelParts parts, ModelMetrics& metrics)
      : parts_(std::move(parts)), metrics_(metrics) {}

  ModelParts parts_;
  ModelMetrics& metrics_;
  ModelCard card_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<EngineThread> thread_;  // ends before the engine does
};

// All models of a server, by name. Constant once the server serves.
class ModelMap {
 public:
  // The first is the default model. REQUIRES: the name is new.
  void Add(std::unique_ptr<ServedModel> model);

  // The default model for an empty name. Errors: kNotFound, names the models that there are.
  absl::StatusOr<ServedModel*> Find(const std::string& name) const;
  const std::vector<std::unique_ptr<ServedModel>>& all() const { return models_; }

 private:
  std::vector<std::unique_ptr<ServedModel>> models_;
  std::map<std::string, ServedModel*> by_name_;
};

}  // namespace ela

#endif  // ELA_SERVER_SERVED_MODEL_H_
