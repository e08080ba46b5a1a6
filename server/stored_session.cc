#include "server/stored_session.h"

#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/status_macros.h"
#include "server/byte_coding.h"

namespace ela {
namespace {

constexpr uint8_t kFormat = 1;
constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

void PutMeta(const SessionMeta& meta, std::string* bytes) {
  PutText(meta.model, bytes);
  PutText(meta.model_fingerprint, bytes);
  PutText(meta.lobe, bytes);
  PutNumber(TimeToMicros(meta.expires), bytes);
  PutNumber(static_cast<uint32_t>(meta.checkpoints.size()), bytes);
  for (const auto& [name, position] : meta.checkpoints) {
    PutText(name, bytes);
    PutNumber(position, bytes);
  }
  PutText(meta.details, bytes);
}

SessionMeta ReadMeta(ByteReader& reader) {
  SessionMeta meta;
  meta.model = std::string(reader.ReadText());
  meta.model_fingerprint = std::string(reader.ReadText());
  meta.lobe = std::string(reader.ReadText());
  meta.expires = MicrosToTime(reader.ReadNumber<int64_t>());
  for (uint32_t left = reader.ReadNumber<uint32_t>(); left > 0 && reader.ok(); --left) {
    std::string name(reader.ReadText());
    meta.checkpoints[std::move(name)] = reader.ReadNumber<int64_t>();
  }
  meta.details = std::string(reader.ReadText());
  return meta;
}

absl::Status CheckFormat(ByteReader& reader) {
  const uint8_t format = reader.ReadNumber<uint8_t>();
  if (!reader.ok() || format == 0) return absl::DataLossError("a stored session is damaged");
  if (format > kFormat) {
    return absl::FailedPreconditionError(
        absl::StrCat("a stored session has format ", format, ", this build reads up to ", kFormat));
  }
  return absl::OkStatus();
}

absl::Status CheckDone(const ByteReader& reader) {
  if (reader.done()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("a stored session is damaged: ",
                                          reader.ok() ? "bytes are left over" : "it is cut off"));
}

}  // namespace

int64_t TimeToMicros(absl::Time time) {
  return time == absl::InfiniteFuture() ? kNever : absl::ToUnixMicros(time);
}

absl::Time MicrosToTime(int64_t micros) {
  return micros == kNever ? absl::InfiniteFuture() : absl::FromUnixMicros(micros);
}

std::string EncodeMeta(const SessionMeta& meta) {
  std::string bytes;
  PutNumber(kFormat, &bytes);
  PutMeta(meta, &bytes);
  return bytes;
}

std::string EncodeSession(const StoredSession& session) {
  std::string bytes;
  PutNumber(kFormat, &bytes);
  bytes.append(session.id.raw().data(), session.id.raw().size());
  PutText(session.tenant, &bytes);
  PutNumber(session.generation, &bytes);
  PutText(session.owner, &bytes);
  PutNumber(TimeToMicros(session.created), &bytes);
  PutMeta(session.meta, &bytes);
  PutNumber(session.num_tokens, &bytes);
  PutNumber(static_cast<uint32_t>(session.snapshots.size()), &bytes);
  for (const SnapshotInfo& snapshot : session.snapshots) {
    PutNumber(snapshot.position, &bytes);
    PutNumber(snapshot.num_bytes, &bytes);
  }
  return bytes;
}

absl::StatusOr<SessionMeta> DecodeMeta(absl::string_view bytes) {
  ByteReader reader(bytes);
  ELA_RETURN_IF_ERROR(CheckFormat(reader));
  SessionMeta meta = ReadMeta(reader);
  ELA_RETURN_IF_ERROR(CheckDone(reader));
  return meta;
}

absl::StatusOr<StoredSession> DecodeSession(absl::string_view bytes) {
  ByteReader reader(bytes);
  ELA_RETURN_IF_ERROR(CheckFormat(reader));
  StoredSession session;
  const absl::string_view id = reader.ReadBytes(session.id.bytes.size());
  std::memcpy(session.id.bytes.data(), id.data(), id.size());
  session.tenant = std::string(reader.ReadText());
  session.generation = reader.ReadNumber<int64_t>();
  session.owner = std::string(reader.ReadText());
  session.created = MicrosToTime(reader.ReadNumber<int64_t>());
  session.meta = ReadMeta(reader);
  session.num_tokens = reader.ReadNumber<int64_t>();
  for (uint32_t left = reader.ReadNumber<uint32_t>(); left > 0 && reader.ok(); --left) {
    SnapshotInfo snapshot;
    snapshot.position = reader.ReadNumber<int64_t>();
    snapshot.num_bytes = reader.ReadNumber<int64_t>();
    session.snapshots.push_back(snapshot);
  }
  ELA_RETURN_IF_ERROR(CheckDone(reader));
  return session;
}

}  // namespace ela
