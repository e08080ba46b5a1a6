// `ela score`: bits per byte of a model on a file of documents.
#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "client/command/command.h"
#include "client/command/document_file.h"
#include "client/command/interrupt.h"
#include "client/command/output.h"
#include "client/command/progress.h"

namespace ela::client {
namespace {

using Json = nlohmann::ordered_json;

struct ScoreOptions {
  std::string file;
  int concurrency = 8;
  bool per_document = false;
};

// Works through a file with several streams at a time. The sums are taken in the order of the file,
// whatever order the documents finish in: the same file gives the same last digit.
class ScoreJob {
 public:
  ScoreJob(Client& client, DocumentFile& file, const ScoreOptions& options)
      : client_(client), file_(file), options_(options) {}

  ExitCode Run(bool json_documents) {
    std::vector<std::thread> workers;
    for (int i = 0; i < options_.concurrency; ++i) workers.emplace_back([this] { Work(); });
    {
      OnInterrupt on_interrupt([this] { Stop(absl::CancelledError("interrupted")); });
      WatchOver(workers.size());
    }
    for (std::thread& worker : workers) worker.join();
    if (json_documents) PrintDocuments();
    PrintTotals();
    absl::MutexLock lock(&mutex_);
    if (!stopped_.ok()) return Report(stopped_);
    return num_refused_ > 0 ? kExitRefused : kExitOk;
  }

 private:
  struct Scored {
    std::string id;
    ScoreSummary summary;
  };

  // --- Worker threads. ---

  void Work() {
    std::string json;
    int64_t line = 0;
    while (!Stopped() && file_.Next(&json, &line)) {
      absl::StatusOr<Document> document = ParseDocument(json, line);
      const absl::Status status = document.ok() ? ScoreDocument(*document) : document.status();
      if (status.ok()) continue;
      if (ExitCodeOf(status) != kExitRefused) {
        Stop(status);
        continue;
      }
      Complain(document.ok() ? absl::StrCat("line ", line, ": ", status.message())
                             : std::string(status.message()));
    }
    absl::MutexLock lock(&mutex_);
    ++num_idle_;
  }

  // An overloaded server names a pause: a batch job can afford to wait for it.
  absl::Status ScoreDocument(const Document& document) {
    constexpr int kMaxAttempts = 30;
    for (int attempt = 1;; ++attempt) {
      const absl::Status status = ScoreOnce(document);
      const std::optional<absl::Duration> pause = DetailsOf(status).retry_after;
      if (status.code() != absl::StatusCode::kResourceExhausted || !pause.has_value() ||
          attempt == kMaxAttempts) {
        return status;
      }
      absl::MutexLock lock(&mutex_);
      mutex_.AwaitWithTimeout(absl::Condition(&stop_), *pause);
    }
  }

  absl::Status ScoreOnce(const Document& document) {
    ScoreParams params;
    params.text = document.text;
    params.start_with_eos = true;
    ScoreStream stream = client_.Score(params);
    {
      absl::MutexLock lock(&mutex_);
      if (stop_) return absl::CancelledError("interrupted");
      streams_.insert(&stream);
    }
    absl::StatusOr<ScoreSummary> summary = ReadCounting(stream);
    absl::MutexLock lock(&mutex_);
    streams_.erase(&stream);
    if (!summary.ok()) return summary.status();
    scored_[document.line] = {document.id, *summary};
    return absl::OkStatus();
  }

  absl::StatusOr<ScoreSummary> ReadCounting(ScoreStream& stream) {
    while (std::optional<ScoreChunk> chunk = stream.Next()) {
      absl::MutexLock lock(&mutex_);
      live_tokens_ += chunk->logprobs.size();
    }
    if (!stream.status().ok()) return stream.status();
    return stream.summary();
  }

  bool Stopped() {
    absl::MutexLock lock(&mutex_);
    return stop_;
  }

  // The first reason stands.
  void Stop(absl::Status why) {
    absl::MutexLock lock(&mutex_);
    if (stop_) return;
    stop_ = true;
    stopped_ = std::move(why);
    for (ScoreStream* stream : streams_) stream->Cancel();
  }

  void Complain(std::string message) {
    absl::MutexLock lock(&mutex_);
    ++num_refused_;
    complaints_.push_back(std::move(message));
  }

  // --- The main thread. ---

  void WatchOver(size_t num_workers) {
    ProgressBar bar;
    bool all_idle = false;
    while (!all_idle) {
      std::vector<std::string> complaints;
      Progress progress{file_.bytes_read(), file_.total_bytes(), ""};
      {
        absl::MutexLock lock(&mutex_);
        const auto done = [this, num_workers]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
          return num_idle_ == num_workers;
        };
        all_idle = mutex_.AwaitWithTimeout(absl::Condition(&done), absl::Milliseconds(100));
        complaints.swap(complaints_);
        progress.rates = Rates();
      }
      if (!complaints.empty()) bar.Hide();
      for (const std::string& complaint : complaints) PrintError(complaint);
      bar.Show(progress);
    }
  }

  std::string Rates() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const double seconds = absl::ToDoubleSeconds(absl::Now() - start_);
    const ScoreSummary totals = Totals();
    std::string rates = absl::StrFormat("%d documents  %.0f tokens/s", scored_.size(),
                                        seconds > 0 ? live_tokens_ / seconds : 0);
    if (totals.num_bytes > 0) {
      absl::StrAppendFormat(&rates, "  %.4f bits/byte", totals.bits_per_byte);
    }
    return rates;
  }

  ScoreSummary Totals() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    ScoreSummary totals;
    for (const auto& [line, scored] : scored_) {
      totals.num_tokens += scored.summary.num_tokens;
      totals.num_bytes += scored.summary.num_bytes;
      totals.total_logprob += scored.summary.total_logprob;
    }
    if (totals.num_bytes > 0) {
      totals.bits_per_byte = -totals.total_logprob / std::log(2.0) / totals.num_bytes;
    }
    return totals;
  }

  void PrintDocuments() {
    absl::MutexLock lock(&mutex_);
    for (const auto& [line, scored] : scored_) {
      PrintLine({{"id", scored.id},
                 {"tokens", scored.summary.num_tokens},
                 {"bytes", scored.summary.num_bytes},
                 {"total_logprob", scored.summary.total_logprob},
                 {"bits_per_byte", scored.summary.bits_per_byte}});
    }
  }

  void PrintTotals() {
    absl::MutexLock lock(&mutex_);
    const ScoreSummary totals = Totals();
    const double seconds = absl::ToDoubleSeconds(absl::Now() - start_);
    Json json = {{"documents", scored_.size()},
                 {"refused", num_refused_},
                 {"tokens", totals.num_tokens},
                 {"bytes", totals.num_bytes},
                 {"total_logprob", totals.total_logprob}};
    json["bits_per_byte"] = totals.num_bytes > 0 ? Json(totals.bits_per_byte) : Json(nullptr);
    json["seconds"] = seconds;
    json["tokens_per_second"] = seconds > 0 ? totals.num_tokens / seconds : 0;
    json["complete"] = stopped_.ok() && num_refused_ == 0;
    PrintLine(json);
  }

  static void PrintLine(const Json& json) {
    Print(json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
  }

  Client& client_;
  DocumentFile& file_;
  const ScoreOptions options_;
  const absl::Time start_ = absl::Now();

  absl::Mutex mutex_;
  absl::flat_hash_set<ScoreStream*> streams_ ABSL_GUARDED_BY(mutex_);  // running, for Stop
  std::map<int64_t, Scored> scored_ ABSL_GUARDED_BY(mutex_);           // by line
  std::vector<std::string> complaints_ ABSL_GUARDED_BY(mutex_);        // not yet printed
  int64_t num_refused_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t live_tokens_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t num_idle_ ABSL_GUARDED_BY(mutex_) = 0;  // workers that have ended
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status stopped_ ABSL_GUARDED_BY(mutex_);
};

ExitCode Run(const Command& command, const ScoreOptions& options) {
  absl::StatusOr<std::unique_ptr<DocumentFile>> file = DocumentFile::Open(options.file);
  if (!file.ok()) {
    Report(file.status());
    return kExitUsage;
  }
  absl::StatusOr<std::unique_ptr<Client>> client = command.Connect();
  if (!client.ok()) return Report(client.status());
  return ScoreJob(**client, **file, options).Run(options.per_document);
}

}  // namespace

void AddScoreCommand(CLI::App& app, Command& command) {
  auto options = std::make_shared<ScoreOptions>();  // owned by the callback below
  CLI::App* const score =
      app.add_subcommand("score", "Bits per byte of a model on a file of documents");
  score->footer(R"(
The file holds one JSON object per line: {"id": "any name", "text": "…"}. Each document is scored
from its first byte, as if it followed an end of text. The result is one JSON object; with
--per-document one line per document comes before it. Broken lines are reported with their number
and left out (exit code 3).

Examples:
  ela score --file documents.jsonl
  ela score --file - --concurrency 32 < documents.jsonl)");
  score->add_option("-f,--file", options->file, "Documents as JSON lines; - is standard input")
      ->required();
  score->add_option("-c,--concurrency", options->concurrency, "Documents at a time")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  score->add_flag("--per-document", options->per_document, "Print one line per document too");
  score->callback([&command, options] { command.exit_code = Run(command, *options); });
}

}  // namespace ela::client
