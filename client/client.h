// The C++ client of an ELA server.
//
//   absl::StatusOr<std::unique_ptr<ela::Client>> client = ela::Client::Connect({});
//   if (!client.ok()) return client.status();
//   ela::client::GenerateParams params;
//   params.text = "Once upon a time";
//   ela::client::GenerateStream stream = (*client)->Generate(params);
//   for (const auto& chunk : stream) std::cout << chunk.text << std::flush;
//   if (!stream.status().ok()) std::cerr << stream.status().message() << "\n";
//
// No message type and no gRPC type appears here: plain structs in, plain structs out.
#ifndef ELA_CLIENT_CLIENT_H_
#define ELA_CLIENT_CLIENT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/cancellation.h"
#include "client/detect.h"
#include "client/error_details.h"
#include "client/generate.h"
#include "client/model_info.h"
#include "client/score.h"
#include "client/usage.h"

namespace grpc {
class ChannelCredentials;
}

namespace ela::client {

class Connection;

struct ClientOptions {
  // Any gRPC target: "host:port", "dns:///name:port" (calls spread over all its addresses),
  // "unix:/path".
  std::string address = "127.0.0.1:50051";
  // Shared with gRPC's channel. Null: no encryption; grpc::SslCredentials(…) for TLS.
  std::shared_ptr<grpc::ChannelCredentials> credentials;
  std::string model;                                      // empty: the server's default model
  std::string tenant;                                     // sent as metadata "ela-tenant"
  absl::Duration timeout = absl::InfiniteDuration();      // of each call that names none
  absl::Duration wait_for_server = absl::ZeroDuration();  // Connect waits that long for an answer

  // A call that ended with kUnavailable before anything was received is sent again: after the
  // server's RetryInfo if it gave one, else after a doubling pause. Never past the call's deadline.
  int max_attempts = 4;  // 1: no retries
  absl::Duration first_pause = absl::Milliseconds(100);
  absl::Duration longest_pause = absl::Seconds(5);  // a longer RetryInfo is given to the caller
};

struct TokenizeParams {
  std::string model;
  std::string text;    // may be empty
  bool plain = false;  // special tokens written out are plain text
};

struct Tokens {
  std::vector<uint32_t> ids;
  std::vector<std::string> pieces;  // bytes of each token; not necessarily whole UTF-8
};

struct DetokenizeParams {
  std::string model;
  std::vector<uint32_t> ids;
  bool keep_special = false;
};

enum class Health { kServing, kNotServing, kUnknown };

const char* Name(Health health);  // "serving", "not serving", "unknown"

// A connection to one server (or one service of many). Thread-safe. Errors of every call: the codes
// of ela.v1.Generation and ela.v1.Detection; the message is for people, DetailsOf(status) for
// programs.
class Client {
 public:
  // Does not wait for the server unless asked to. Errors: kInvalidArgument (options), kUnavailable
  // (no answer within wait_for_server).
  static absl::StatusOr<std::unique_ptr<Client>> Connect(ClientOptions options);
  ~Client();

  // Starts at once; errors show when the stream is read.
  GenerateStream Generate(const GenerateParams& params);
  ScoreStream Score(const ScoreParams& params);

  // Objects in one picture or several; a picture that cannot be read has its error in its own
  // result. `cancellation` may be null.
  absl::StatusOr<DetectResults> Detect(DetectParams params, Cancellation* cancellation = nullptr);
  // Starts at once; errors show when the stream is read.
  DetectStream DetectFrames(const DetectStreamParams& params);

  absl::StatusOr<Tokens> Tokenize(const TokenizeParams& params);
  absl::StatusOr<std::string> Detokenize(const DetokenizeParams& params);

  absl::StatusOr<std::vector<ModelSummary>> ListModels();
  // `model` empty: ClientOptions::model. kNotFound: no such model.
  absl::StatusOr<ModelDescription> DescribeModel(const std::string& model = "");

  // `model` empty: ClientOptions::model, else the default detector. kNotFound: it is no detector.
  absl::StatusOr<DetectorDescription> DescribeDetector(const std::string& model = "");

  // grpc.health.v1. `service` empty: the server as a whole. kNotFound: no such service.
  absl::StatusOr<Health> CheckHealth(const std::string& service = "");

 private:
  explicit Client(std::shared_ptr<Connection> connection);
  const std::shared_ptr<Connection> connection_;  // shared with the streams, which may outlive us
};

}  // namespace ela::client

namespace ela {
using Client = client::Client;
}

#endif  // ELA_CLIENT_CLIENT_H_
