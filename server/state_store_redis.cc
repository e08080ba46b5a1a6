#include "server/state_store_redis.h"

#include <algorithm>
#include <array>
#include <random>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "model/status_macros.h"
#include "server/byte_coding.h"
#include "server/redis_client.h"
#include "server/redis_scripts.h"
#include "server/stored_session.h"

namespace ela {
namespace {

using Kind = RedisReply::Kind;

// The words of a command that outlive its parts.
class Words {
 public:
  explicit Words(std::vector<std::string> words) : words_(std::move(words)) {}
  void Add(std::string word) { words_.push_back(std::move(word)); }
  // Borrowed by the command: `bytes` must outlive it.
  void Borrow(absl::string_view bytes) {
    borrowed_.emplace_back(words_.size(), bytes);
    words_.emplace_back();
  }
  RedisCommand command() const {
    RedisCommand command(words_.begin(), words_.end());
    for (const auto& [at, bytes] : borrowed_) command[at] = bytes;
    return command;
  }

 private:
  std::vector<std::string> words_;
  std::vector<std::pair<size_t, absl::string_view>> borrowed_;
};

std::string Expiry(absl::Time expires) {
  return expires == absl::InfiniteFuture() ? "" : absl::StrCat(TimeToMicros(expires));
}

const std::string& TextAt(const RedisReply& reply, size_t at) {
  static const std::string* const kNone = new std::string;
  return at < reply.list.size() ? reply.list[at].text : *kNone;
}

int64_t NumberAt(const RedisReply& reply, size_t at) {
  if (at >= reply.list.size()) return -1;
  if (reply.list[at].kind == Kind::kInteger) return reply.list[at].integer;
  int64_t number = -1;
  return absl::SimpleAtoi(reply.list[at].text, &number) ? number : -1;
}

// Thread-safe.
class RedisStore final : public StateStore {
 public:
  RedisStore(std::unique_ptr<RedisClient> client, const RedisOptions& options, std::string identity,
             std::string durability)
      : client_(std::move(client)),
        prefix_(options.prefix),
        identity_(std::move(identity)),
        durability_(std::move(durability)) {}

  std::string Describe() const override {
    return absl::StrCat("redis at ", client_->address(), " (", durability_, ")");
  }
  absl::Status Create(const StoredSession& session) override;
  absl::StatusOr<StoredSession> Acquire(const SessionId& id, int64_t expected_generation,
                                        const std::string& owner) override;
  absl::StatusOr<StoredSession> Read(const SessionId& id) override;
  absl::StatusOr<std::vector<TokenId>> ReadTokens(const SessionId& id, int64_t begin,
                                                  int64_t end) override;
  absl::StatusOr<std::string> ReadSnapshot(const SessionId& id, int64_t position) override;
  void Write(absl::Span<const SessionWrite> writes, absl::Span<absl::Status> results) override;
  absl::Status Delete(const SessionId& id, int64_t generation) override;
  absl::StatusOr<SessionPage> List(const std::string& tenant, const std::optional<SessionId>& after,
                                   int32_t limit) override;
  absl::StatusOr<std::vector<SessionId>> SweepExpired(absl::Time now, int32_t limit) override;

 private:
  std::string Key(const SessionId& id, const char* part) const {
    return absl::StrCat(prefix_, ":{", id.ToHex(), "}:", part);
  }
  std::string TenantKey(absl::string_view tenant) const {
    return absl::StrCat(prefix_, ":t:", tenant);
  }
  std::string ExpiryKey() const { return absl::StrCat(prefix_, ":x"); }

  // EVAL with the session's three keys and `more` keys.
  Words Script(const char* script, const SessionId& id, std::vector<std::string> more = {}) const;
  Words WriteScript(const SessionWrite& write) const;
  // What a script's first word says; OK: the reply is as documented.
  absl::Status Outcome(const RedisReply& reply, const SessionId& id, int64_t generation,
                       int64_t position);
  absl::StatusOr<RedisReply> Run(const Words& words, const SessionId& id, int64_t generation = 0);
  absl::StatusOr<StoredSession> Record(const RedisReply& reply, const SessionId& id);
  absl::Status Missing(const SessionId& id);

  const std::unique_ptr<RedisClient> client_;
  const std::string prefix_;
  const std::string identity_;  // of the data that this process first met
  const std::string durability_;
};

Words RedisStore::Script(const char* script, const SessionId& id,
                         std::vector<std::string> more) const {
  Words words(
      {"EVAL", script, absl::StrCat(3 + more.size()), Key(id, "r"), Key(id, "l"), Key(id, "s")});
  for (std::string& key : more) words.Add(std::move(key));
  return words;
}

absl::StatusOr<RedisReply> RedisStore::Run(const Words& words, const SessionId& id,
                                           int64_t generation) {
  absl::StatusOr<RedisReply> reply = client_->Run(words.command());
  ELA_RETURN_IF_ERROR(reply.status());
  ELA_RETURN_IF_ERROR(Outcome(*reply, id, generation, 0));
  return reply;
}

absl::Status RedisStore::Outcome(const RedisReply& reply, const SessionId& id, int64_t generation,
                                 int64_t position) {
  const std::string& word = TextAt(reply, 0);
  if (word == "OK") return absl::OkStatus();
  if (word == "MISSING") return Missing(id);
  if (word == "EXISTS") return SessionExists(id);
  if (word == "FENCED") return Fenced(id, generation, NumberAt(reply, 1), TextAt(reply, 2));
  if (word == "HOLE") return LogHole(id, NumberAt(reply, 1), NumberAt(reply, 2));
  if (word == "CONFLICT") return LogConflict(id, position);
  return absl::InternalError(
      absl::StrCat("redis at ", client_->address(), " answered a script with \"", word, "\""));
}

// A session that is gone because Redis came back without its data is another matter than one that
// never was: the data carry a name.
absl::Status RedisStore::Missing(const SessionId& id) {
  const std::string key = absl::StrCat(prefix_, ":store");
  const absl::StatusOr<RedisReply> name = client_->Run({"GET", key});
  ELA_RETURN_IF_ERROR(name.status());
  if (name->text == identity_) return SessionNotFound(id);
  return absl::DataLossError(absl::StrCat("session ", id.ToHex(), " is gone: redis at ",
                                          client_->address(),
                                          " has lost its data since this server started"));
}

absl::StatusOr<StoredSession> RedisStore::Record(const RedisReply& reply, const SessionId& id) {
  StoredSession session;
  session.id = id;
  session.tenant = TextAt(reply, 1);
  session.generation = NumberAt(reply, 2);
  session.owner = TextAt(reply, 3);
  session.created = MicrosToTime(NumberAt(reply, 4));
  const int64_t log_bytes = NumberAt(reply, 6);
  if (reply.list.size() < 7 || session.generation < 1 || log_bytes < 0 || log_bytes % 4 != 0) {
    return absl::DataLossError(absl::StrCat("the record of session ", id.ToHex(), " is damaged"));
  }
  session.num_tokens = log_bytes / static_cast<int64_t>(sizeof(TokenId));
  ELA_ASSIGN_OR_RETURN(session.meta, DecodeMeta(TextAt(reply, 5)));
  for (size_t i = 7; i + 1 < reply.list.size(); i += 2) {
    session.snapshots.push_back({NumberAt(reply, i), NumberAt(reply, i + 1)});
  }
  std::sort(session.snapshots.begin(), session.snapshots.end(),
            [](const SnapshotInfo& a, const SnapshotInfo& b) { return a.position < b.position; });
  return session;
}

absl::Status RedisStore::Create(const StoredSession& session) {
  ELA_RETURN_IF_ERROR(CheckNewSession(session));
  SessionMeta meta = session.meta;
  meta.expires = StoredTime(meta.expires);
  Words words = Script(kRedisCreate, session.id, {TenantKey(session.tenant), ExpiryKey()});
  words.Add(session.tenant);
  words.Add(session.owner);
  words.Add(absl::StrCat(TimeToMicros(session.created)));
  words.Add(EncodeMeta(meta));
  words.Add(Expiry(meta.expires));
  words.Add(session.id.ToHex());
  return Run(words, session.id).status();
}

absl::StatusOr<StoredSession> RedisStore::Acquire(const SessionId& id, int64_t expected_generation,
                                                  const std::string& owner) {
  Words words = Script(kRedisAcquire, id);
  words.Add(absl::StrCat(expected_generation));
  words.Add(owner);
  ELA_ASSIGN_OR_RETURN(const RedisReply reply, Run(words, id, expected_generation));
  return Record(reply, id);
}

absl::StatusOr<StoredSession> RedisStore::Read(const SessionId& id) {
  ELA_ASSIGN_OR_RETURN(const RedisReply reply, Run(Script(kRedisRead, id), id));
  return Record(reply, id);
}

absl::StatusOr<std::vector<TokenId>> RedisStore::ReadTokens(const SessionId& id, int64_t begin,
                                                            int64_t end) {
  Words words = Script(kRedisReadTokens, id);
  words.Add(absl::StrCat(begin));
  words.Add(absl::StrCat(end));
  ELA_ASSIGN_OR_RETURN(const RedisReply reply, client_->Run(words.command()));
  if (TextAt(reply, 0) == "RANGE") {
    StoredSession session;
    session.id = id;
    session.num_tokens = NumberAt(reply, 1);
    return CheckLogRange(session, begin, end);
  }
  ELA_RETURN_IF_ERROR(Outcome(reply, id, 0, begin));
  const std::string& bytes = TextAt(reply, 1);
  if (static_cast<int64_t>(bytes.size()) != (end - begin) * 4) {
    return absl::DataLossError(absl::StrCat("the log of session ", id.ToHex(), " is damaged"));
  }
  std::vector<TokenId> tokens;
  TakeTokens(bytes, &tokens);
  return tokens;
}

absl::StatusOr<std::string> RedisStore::ReadSnapshot(const SessionId& id, int64_t position) {
  const std::string key = Key(id, "s"), field = absl::StrCat(position);
  ELA_ASSIGN_OR_RETURN(RedisReply reply, client_->Run({"HGET", key, field}));
  if (reply.kind == Kind::kNil) return SnapshotNotFound(id, position);
  return std::move(reply.text);
}

Words RedisStore::WriteScript(const SessionWrite& write) const {
  Words words = Script(kRedisWrite, write.id, {ExpiryKey()});
  std::string tokens;
  PutTokens(write.tokens, &tokens);
  words.Add(absl::StrCat(write.generation));
  words.Add(absl::StrCat(write.log_position));
  words.Add(write.rewind ? "1" : "0");
  words.Add(std::move(tokens));
  SessionMeta meta;
  if (write.meta.has_value()) {
    meta = *write.meta;
    meta.expires = StoredTime(meta.expires);
  }
  words.Add(write.meta.has_value() ? "1" : "0");
  words.Add(write.meta.has_value() ? EncodeMeta(meta) : "");
  words.Add(Expiry(meta.expires));
  words.Add(write.release ? "1" : "0");
  words.Add(write.id.ToHex());
  words.Add(absl::StrCat(write.put_snapshots.size()));
  for (const Snapshot& snapshot : write.put_snapshots) {
    words.Add(absl::StrCat(snapshot.position));
    words.Borrow(*snapshot.bytes);
  }
  for (const int64_t position : write.delete_snapshots) words.Add(absl::StrCat(position));
  return words;
}

void RedisStore::Write(absl::Span<const SessionWrite> writes, absl::Span<absl::Status> results) {
  std::vector<Words> scripts;
  std::vector<size_t> sent;  // their places in `writes`
  for (size_t i = 0; i < writes.size(); ++i) {
    results[i] = CheckWrite(writes[i]);
    if (!results[i].ok()) continue;
    scripts.push_back(WriteScript(writes[i]));
    sent.push_back(i);
  }
  if (sent.empty()) return;
  std::vector<RedisCommand> commands;
  for (const Words& words : scripts) commands.push_back(words.command());
  const std::vector<absl::StatusOr<RedisReply>> replies = client_->RunAll(commands);
  for (size_t i = 0; i < sent.size(); ++i) {
    const SessionWrite& write = writes[sent[i]];
    results[sent[i]] = replies[i].ok()
                           ? Outcome(*replies[i], write.id, write.generation, write.log_position)
                           : replies[i].status();
  }
}

absl::Status RedisStore::Delete(const SessionId& id, int64_t generation) {
  Words words = Script(kRedisDelete, id, {ExpiryKey()});
  words.Add(absl::StrCat(generation));
  words.Add(id.ToHex());
  words.Add(TenantKey(""));
  return Run(words, id, generation).status();
}

absl::StatusOr<SessionPage> RedisStore::List(const std::string& tenant,
                                             const std::optional<SessionId>& after, int32_t limit) {
  const std::string key = TenantKey(tenant);
  const std::string begin = after.has_value() ? absl::StrCat("(", after->ToHex()) : "-";
  const std::string count = absl::StrCat(limit + int64_t{1});
  ELA_ASSIGN_OR_RETURN(const RedisReply found,
                       client_->Run({"ZRANGEBYLEX", key, begin, "+", "LIMIT", "0", count}));
  SessionPage page;
  page.more = static_cast<int32_t>(found.list.size()) > limit;
  const size_t num_shown = std::min<size_t>(found.list.size(), static_cast<size_t>(limit));
  std::vector<SessionId> ids;
  std::vector<Words> scripts;
  for (size_t i = 0; i < num_shown; ++i) {
    ELA_ASSIGN_OR_RETURN(const SessionId id, SessionId::FromHex(found.list[i].text));
    ids.push_back(id);
    scripts.push_back(Script(kRedisRead, id));
  }
  if (scripts.empty()) return page;
  std::vector<RedisCommand> commands;
  for (const Words& words : scripts) commands.push_back(words.command());
  const std::vector<absl::StatusOr<RedisReply>> replies = client_->RunAll(commands);
  for (size_t i = 0; i < ids.size(); ++i) {
    ELA_RETURN_IF_ERROR(replies[i].status());
    if (TextAt(*replies[i], 0) == "MISSING") continue;  // deleted meanwhile
    ELA_ASSIGN_OR_RETURN(StoredSession session, Record(*replies[i], ids[i]));
    page.sessions.push_back(std::move(session));
  }
  return page;
}

absl::StatusOr<std::vector<SessionId>> RedisStore::SweepExpired(absl::Time now, int32_t limit) {
  Words words({"EVAL", kRedisSweep, "1", ExpiryKey(), absl::StrCat(TimeToMicros(now)),
               absl::StrCat(limit), TenantKey(""), prefix_});
  ELA_ASSIGN_OR_RETURN(const RedisReply reply, client_->Run(words.command()));
  std::vector<SessionId> swept;
  for (const RedisReply& hex : reply.list) {
    ELA_ASSIGN_OR_RETURN(const SessionId id, SessionId::FromHex(hex.text));
    swept.push_back(id);
  }
  return swept;
}

// The value of one of Redis's settings; "unknown" where it does not tell (managed services).
std::string ConfigValue(RedisClient& client, const char* name) {
  const absl::StatusOr<RedisReply> reply = client.Run({"CONFIG", "GET", name});
  return reply.ok() && reply->list.size() == 2 ? reply->list[1].text : "unknown";
}

}  // namespace

absl::StatusOr<std::unique_ptr<StateStore>> OpenRedisStore(const RedisOptions& options) {
  ELA_ASSIGN_OR_RETURN(std::unique_ptr<RedisClient> client, RedisClient::Create(options));
  std::random_device random;
  std::string fresh;
  for (int i = 0; i < 4; ++i) absl::StrAppend(&fresh, absl::Hex(random(), absl::kZeroPad8));
  const std::string key = absl::StrCat(options.prefix, ":store");
  ELA_RETURN_IF_ERROR(client->Run({"SET", key, fresh, "NX"}).status());
  ELA_ASSIGN_OR_RETURN(const RedisReply identity, client->Run({"GET", key}));
  const std::string durability =
      absl::StrCat("appendonly=", ConfigValue(*client, "appendonly"),
                   ", appendfsync=", ConfigValue(*client, "appendfsync"));
  return std::make_unique<RedisStore>(std::move(client), options, identity.text, durability);
}

}  // namespace ela
