// What a wrong command line is told, and what it is checked for beyond CLI11's own rules.
#ifndef ELA_CLIENT_COMMAND_COMMAND_LINE_H_
#define ELA_CLIENT_COMMAND_COMMAND_LINE_H_

#include <CLI/CLI.hpp>
#include <limits>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace ela::client {

// The sentence for a command line that `app` refused with `error`, and where to read more.
std::string UsageMessage(const CLI::App& app, const CLI::ParseError& error);

// What is wrong with the address of a server, in words; empty: nothing.
std::string AddressFault(const std::string& address);

// CLI11 reads -1 as the largest number of an unsigned type; this refuses it, naming the range.
template <typename Unsigned>
CLI::Validator WholeNumber() {
  const auto fault = [](const std::string& text) -> std::string {
    Unsigned number = 0;
    if (absl::SimpleAtoi(text, &number)) return "";
    return absl::StrCat("\"", text, "\" is not a whole number from 0 to ",
                        std::numeric_limits<Unsigned>::max());
  };
  return CLI::Validator(fault, "");
}

}  // namespace ela::client

#endif  // ELA_CLIENT_COMMAND_COMMAND_LINE_H_
