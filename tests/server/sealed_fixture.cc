// Writes the sample in this build's version: sealed_fixture DIRECTORY. Once per released version;
// the files are committed to tests/golden/sealed and must open for ever.
#include <cstdio>
#include <fstream>
#include <string>

#include "tests/server/sealed_samples.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto keys = ela::SealKeys::Parse(ela::kSampleKeys, "sample");
  for (const bool encrypted : {false, true}) {
    const auto blob = ela::SealState(ela::SampleState(), encrypted ? &*keys : nullptr);
    if (!blob.ok()) {
      std::fprintf(stderr, "%s\n", blob.status().ToString().c_str());
      return 1;
    }
    const std::string name = encrypted ? "/v1_aes256gcm.bin" : "/v1_plain.bin";
    std::ofstream(argv[1] + name, std::ios::binary) << *blob;
  }
  return 0;
}
