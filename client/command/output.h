// Standard output, of which a command says whether it all arrived: a full disk is no success.
#ifndef ELA_CLIENT_COMMAND_OUTPUT_H_
#define ELA_CLIENT_COMMAND_OUTPUT_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace ela::client {

// Writes the text and hands it on at once. False: this or an earlier write failed, and
// OutputStatus() says why; nothing more can arrive. Main thread.
bool Print(absl::string_view text);

// OK while everything printed so far, by whatever means, has arrived. Errors: kUnknown, with the
// system's reason. Main thread.
absl::Status OutputStatus();

}  // namespace ela::client

#endif  // ELA_CLIENT_COMMAND_OUTPUT_H_
