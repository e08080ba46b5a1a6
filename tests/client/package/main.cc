// Exit code 0: the client was found, linked and run, and said that nobody listens on port 1.
#include <client/client.h>

#include <iostream>

int main() {
  ela::client::ClientOptions options;
  options.address = "127.0.0.1:1";
  options.max_attempts = 1;
  absl::StatusOr<std::unique_ptr<ela::Client>> client = ela::Client::Connect(options);
  if (!client.ok()) {
    std::cerr << client.status() << "\n";
    return 1;
  }
  ela::client::GenerateParams params;
  params.text = "Is anybody there?";
  ela::client::GenerateStream stream = (*client)->Generate(params);
  for (const ela::client::GenerateChunk& chunk : stream) std::cout << chunk.text;
  std::cout << stream.status().message() << "\n";
  return stream.status().code() == absl::StatusCode::kUnavailable ? 0 : 1;
}
