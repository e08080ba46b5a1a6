#include "server/redis_client.h"

#include <hiredis/hiredis.h>
#include <signal.h>

#include <cerrno>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "model/json_file.h"
#include "model/status_macros.h"

namespace ela {
namespace {

constexpr int64_t kMaxCredentialsBytes = 64 << 10;

// What Redis's error words mean for a caller.
absl::Status StatusOfError(absl::string_view error, const std::string& address) {
  const std::string message = absl::StrCat("redis at ", address, ": ", error);
  const auto is = [error](const char* word) { return absl::StartsWith(error, word); };
  if (is("OOM")) return absl::ResourceExhaustedError(message);
  if (is("NOAUTH") || is("WRONGPASS") || is("NOPERM") || is("ERR AUTH") ||
      is("ERR invalid password")) {
    return absl::FailedPreconditionError(message);
  }
  // Loading its file, a replica that may not write, a disk that it cannot write to, a script that
  // runs for too long, too few replicas.
  for (const char* word : {"LOADING", "READONLY", "MISCONF", "BUSY", "MASTERDOWN", "NOREPLICAS",
                           "ERR max number of clients"}) {
    if (is(word)) return absl::UnavailableError(message);
  }
  return absl::InternalError(message);
}

RedisReply Copied(const redisReply& reply) {
  RedisReply copy;
  switch (reply.type) {
    case REDIS_REPLY_INTEGER:
      copy.kind = RedisReply::kInteger;
      copy.integer = reply.integer;
      break;
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
    case REDIS_REPLY_ERROR:
      copy.kind = RedisReply::kText;
      copy.text.assign(reply.str, reply.len);
      break;
    case REDIS_REPLY_ARRAY:
      copy.kind = RedisReply::kList;
      for (size_t i = 0; i < reply.elements; ++i) copy.list.push_back(Copied(*reply.element[i]));
      break;
    default:
      break;
  }
  return copy;
}

void Append(redisContext* context, const RedisCommand& command) {
  std::vector<const char*> words;
  std::vector<size_t> sizes;
  for (const absl::string_view word : command) {
    words.push_back(word.data());
    sizes.push_back(word.size());
  }
  redisAppendCommandArgv(context, static_cast<int>(words.size()), words.data(), sizes.data());
}

}  // namespace

void RedisClient::Close::operator()(redisContext* context) const { redisFree(context); }

absl::StatusOr<std::unique_ptr<RedisClient>> RedisClient::Create(const RedisOptions& options) {
  // hiredis writes to a connection that the server has closed without asking for no signal.
  struct sigaction action = {};
  if (sigaction(SIGPIPE, nullptr, &action) == 0 && action.sa_handler == SIG_DFL) {
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, nullptr);
  }
  std::unique_ptr<RedisClient> client(new RedisClient(options));
  if (!options.credentials_file.empty()) {
    ELA_ASSIGN_OR_RETURN(const std::string text,
                         ReadTextFile(options.credentials_file, kMaxCredentialsBytes));
    absl::string_view line = absl::string_view(text).substr(0, text.find('\n'));
    line = absl::StripSuffix(line, "\r");
    const size_t colon = line.find(':');
    if (colon != line.npos) client->user_ = std::string(line.substr(0, colon));
    client->password_ = std::string(colon == line.npos ? line : line.substr(colon + 1));
    if (client->password_.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(
          options.credentials_file, " holds no password in its first line (user:password)"));
    }
  }
  ELA_ASSIGN_OR_RETURN(Connection connection, client->Connect());
  client->KeepIdle(std::move(connection));
  ELA_RETURN_IF_ERROR(client->Run({"PING"}).status());
  return client;
}

RedisClient::~RedisClient() = default;

absl::StatusOr<RedisClient::Connection> RedisClient::Connect() const {
  const timeval limit = absl::ToTimeval(options_.connect_timeout);
  absl::string_view address = options_.address;
  Connection connection;
  if (absl::ConsumePrefix(&address, "unix:")) {
    connection.reset(redisConnectUnixWithTimeout(std::string(address).c_str(), limit));
  } else {
    const size_t colon = address.rfind(':');
    int port = 0;
    if (colon == address.npos || !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 1 ||
        port > 65535) {
      return absl::InvalidArgumentError(absl::StrCat("redis address \"", options_.address,
                                                     "\" is neither host:port nor unix:path"));
    }
    connection.reset(
        redisConnectWithTimeout(std::string(address.substr(0, colon)).c_str(), port, limit));
  }
  if (connection == nullptr) return absl::ResourceExhaustedError("no memory for a connection");
  if (connection->err != 0) return ErrorOf(connection.get());
  redisSetTimeout(connection.get(), absl::ToTimeval(options_.call_timeout));
  ELA_RETURN_IF_ERROR(Authenticate(connection.get()));
  return connection;
}

absl::Status RedisClient::Authenticate(redisContext* context) const {
  if (password_.empty()) return absl::OkStatus();
  if (user_.empty()) {
    Append(context, {"AUTH", password_});
  } else {
    Append(context, {"AUTH", user_, password_});
  }
  bool broken = false;
  return ReadReply(context, &broken).status();
}

absl::Status RedisClient::ErrorOf(const redisContext* context) const {
  const int error = errno;
  const std::string message = absl::StrCat("redis at ", options_.address, ": ", context->errstr);
  const bool late = context->err == REDIS_ERR_IO && (error == EAGAIN || error == ETIMEDOUT);
  return late ? absl::DeadlineExceededError(message) : absl::UnavailableError(message);
}

absl::StatusOr<RedisReply> RedisClient::ReadReply(redisContext* context, bool* broken) const {
  void* raw = nullptr;
  if (redisGetReply(context, &raw) != REDIS_OK) {
    *broken = true;
    return ErrorOf(context);
  }
  const std::unique_ptr<redisReply, void (*)(void*)> reply(static_cast<redisReply*>(raw),
                                                           freeReplyObject);
  if (reply->type == REDIS_REPLY_ERROR) {
    return StatusOfError({reply->str, reply->len}, options_.address);
  }
  return Copied(*reply);
}

RedisClient::Connection RedisClient::TakeIdle() {
  absl::MutexLock lock(&mutex_);
  if (idle_.empty()) return nullptr;
  Connection connection = std::move(idle_.back());
  idle_.pop_back();
  return connection;
}

void RedisClient::KeepIdle(Connection connection) {
  absl::MutexLock lock(&mutex_);
  if (static_cast<int32_t>(idle_.size()) < options_.max_idle_connections) {
    idle_.push_back(std::move(connection));
  }
}

absl::StatusOr<RedisReply> RedisClient::Run(const RedisCommand& command) {
  return std::move(RunAll({&command, 1}).front());
}

// An idle connection may have died unseen, with all its brothers; whatever the store sends may be
// sent twice, so a break before the first reply is worth one new connection.
std::vector<absl::StatusOr<RedisReply>> RedisClient::RunAll(
    absl::Span<const RedisCommand> commands) {
  std::vector<absl::StatusOr<RedisReply>> replies;
  Connection connection = TakeIdle();
  bool fresh = connection == nullptr;
  while (true) {
    if (connection == nullptr) {
      absl::StatusOr<Connection> made = Connect();
      if (!made.ok())
        return std::vector<absl::StatusOr<RedisReply>>(commands.size(), made.status());
      connection = *std::move(made);
    }
    for (const RedisCommand& command : commands) Append(connection.get(), command);
    bool broken = false;
    replies.clear();
    while (replies.size() < commands.size() && !broken) {
      replies.push_back(ReadReply(connection.get(), &broken));
    }
    if (!broken) {
      KeepIdle(std::move(connection));
      return replies;
    }
    const absl::Status why = replies.back().status();
    connection.reset();
    if (fresh || replies.size() > 1 || !absl::IsUnavailable(why)) {
      while (replies.size() < commands.size()) replies.push_back(why);
      return replies;
    }
    fresh = true;
    absl::MutexLock lock(&mutex_);
    idle_.clear();
  }
}

}  // namespace ela
