#include "model/language/worker_factory.h"

#include <utility>

#include "model/language/cpu_worker.h"
#include "model/status_macros.h"

namespace ela {

absl::StatusOr<std::unique_ptr<Worker>> CreateLanguageWorker(const LanguageWorkerOptions& options) {
  ELA_ASSIGN_OR_RETURN(std::unique_ptr<CpuWorker> worker, CpuWorker::Create(options));
  return std::unique_ptr<Worker>(std::move(worker));
}

}  // namespace ela
