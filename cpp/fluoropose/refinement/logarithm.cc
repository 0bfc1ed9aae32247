// Compiled with -ffast-math, as tone.cc is, and as exact.
#include "fluoropose/refinement/logarithm.h"

#include <cmath>

#include "fluoropose/core/macros.h"

namespace fluoropose {

FLUOROPOSE_TARGET_CLONES void add_logs(const float* x, int count, float share, float* sums) {
#pragma omp simd
  for (int u = 0; u < count; ++u) sums[u] += share * std::log(x[u]);
}

}  // namespace fluoropose
