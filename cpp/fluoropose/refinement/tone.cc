// Compiled with -ffast-math, for which the C library has vectors of exp and log: both are off by at most four units in
// the last place.
#include "fluoropose/refinement/tone.h"

#include <cmath>

#include "fluoropose/core/macros.h"

namespace fluoropose {

FLUOROPOSE_TARGET_CLONES void show(const float* line, int count, float veil, float* attenuation, float* slope) {
  const float most = 1.0f + veil;
#pragma omp simd
  for (int u = 0; u < count; ++u) {
    const float lit = std::exp(-line[u]) + veil;
    attenuation[u] = line[u] > 0.0f ? std::log(most / lit) : 0.0f;
  }
  if (!slope) return;
#pragma omp simd
  for (int u = 0; u < count; ++u) {
    const float beam = std::exp(-line[u]);
    slope[u] = beam / (beam + veil);
  }
}

}  // namespace fluoropose
