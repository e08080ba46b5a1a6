// The canonical form of a saved state (docs/state.md): little-endian, row-major, without padding
// and without anything that follows from the rest, so that a state moves between devices and
// builds.
#ifndef ELA_MODEL_LANGUAGE_STATE_BLOB_H_
#define ELA_MODEL_LANGUAGE_STATE_BLOB_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/language/state_layout.h"
#include "model/types.h"

namespace ela {

struct StateHeader {
  std::string model_fingerprint;  // hex, at most 64 characters
  std::string lobe_fingerprint;   // hex or empty
  std::string numerics_id;        // at most 32 characters
  int64_t position = 0;
  TokenId last_sampled = -1;
  // Of the tail's tokens, those that no rewind takes back: they belong to a prompt segment whose
  // tokens have all seen them.
  int32_t sealed_tail = 0;
};

// Where a slot's parts lie: `lobe` are the heads of the lobe that the slot holds a state of, count
// 0 without one.
struct StateShape {
  const StateLayout& layout;
  const StateLayout::Head& lobe;
};

// Writes the state in `slot` to `blob`.
void SaveState(const StateShape& shape, const StateHeader& header, char* slot, std::string* blob);

// Reads the header, checking magic, version, length and checksum. Errors: kDataLoss (damaged),
// kFailedPrecondition (a version that this build does not read).
absl::StatusOr<StateHeader> ReadStateHeader(absl::Span<const char> blob);

// Whether the blob of that header holds a state of this shape, all values finite. Errors:
// kFailedPrecondition (another layout), kDataLoss (NaN or infinity).
absl::Status CheckState(const StateShape& shape, absl::Span<const char> blob, char* any_slot);

// Fills `slot` from a blob that both have accepted. What the tail implies is not computed.
void LoadState(const StateShape& shape, absl::Span<const char> blob, char* slot);

}  // namespace ela

#endif  // ELA_MODEL_LANGUAGE_STATE_BLOB_H_
