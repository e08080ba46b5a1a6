// The states behind the committed envelopes in tests/golden/sealed; never changed once released.
#ifndef ELA_TESTS_SERVER_SEALED_SAMPLES_H_
#define ELA_TESTS_SERVER_SEALED_SAMPLES_H_

#include <string>

#include "server/sealed_state.h"

namespace ela {

inline constexpr char kSampleKeys[] =
    "# keys of tests, known to everybody\n"
    "2026-11 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"
    "2026-05 ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100  # older\n";

inline SealedState SampleState() {
  SealedState state;
  state.model_fingerprint = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
  state.position = 1234567;
  state.lobe = "medicine";
  state.first_token_position = 1234567 - 300;
  for (int i = 0; i < 300; ++i) state.tokens.push_back(i * 7919 % 32000 - 1);
  state.details = std::string("turn\0 3", 7);
  for (int i = 0; i < 2000; ++i) state.state.push_back(static_cast<char>(i * i % 251));
  return state;
}

}  // namespace ela

#endif  // ELA_TESTS_SERVER_SEALED_SAMPLES_H_
