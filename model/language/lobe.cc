#include "model/language/lobe.h"

#include "absl/strings/str_cat.h"

namespace ela {

Lobe Lobe::Pack(const LanguageConfig& config, const Weights& weights, const StateLayout& layout) {
  const int64_t d = config.hidden_size;
  Lobe lobe;
  lobe.config = *config.memory_lobe;
  lobe.fingerprint = weights.LobeFingerprint(config);
  lobe.head = layout.PlaceLobe(lobe.config);
  for (int layer = 0; layer < config.num_hidden_layers; ++layer) {
    const auto load = [&](const char* name) {
      return weights.Float(absl::StrCat("decoder_layers.", layer, ".lob.", name, ".weight"));
    };
    lobe.layers.emplace_back(
        d, std::vector<PackedMatrix::Outputs>{{d, load("Q")}, {d, load("K")}, {d, load("V")}});
    lobe.bytes += lobe.layers.back().bytes();
  }
  return lobe;
}

}  // namespace ela
