// Compiled with -ffast-math, for which the C library has vectors of exp and log: both are off by at most four units in
// the last place.
#include "fluoropose/refinement/tone.h"

#include "fluoropose/core/macros.h"

namespace fluoropose {

FLUOROPOSE_TARGET_CLONES void show(const float* line, int count, float veil, float* attenuation, float* slope) {
#pragma omp simd
  for (int u = 0; u < count; ++u) attenuation[u] = shown(line[u], veil);
  if (!slope) return;
#pragma omp simd
  for (int u = 0; u < count; ++u) slope[u] = shown_slope(line[u], veil);
}

}  // namespace fluoropose
