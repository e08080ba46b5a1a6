// Random numbers as a function of (seed, choice, position) alone: Philox 4x32 with 10 rounds
// (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). Counter-based, so that a
// batch, a preemption or a restart changes no draw.
#ifndef ELA_MODEL_LANGUAGE_RANDOM_H_
#define ELA_MODEL_LANGUAGE_RANDOM_H_

#include <array>
#include <cstdint>

namespace ela {

std::array<uint32_t, 4> Philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// Uniform in [0, 1), 53 bits. key = seed; counter = (position, choice, 0).
double UniformDraw(uint64_t seed, uint32_t choice, int64_t position);

}  // namespace ela

#endif  // ELA_MODEL_LANGUAGE_RANDOM_H_
