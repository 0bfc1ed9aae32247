// How dense matter shows in a frame: scatter and glare keep the deepest shadow from becoming darker still.
#pragma once

#include <cmath>

#include "fluoropose/core/macros.h"

namespace fluoropose {

// Of one pixel, for CPU and CUDA; see show().
FLUOROPOSE_HD float shown(float line, float veil) {
  return line > 0.0f ? std::log((1.0f + veil) / (std::exp(-line) + veil)) : 0.0f;
}

FLUOROPOSE_HD float shown_slope(float line, float veil) {
  const float beam = std::exp(-line);
  return beam / (beam + veil);
}

// The attenuation (count) that a frame shows of line integrals, -log((exp(-line) + veil) / (1 + veil)), and its
// derivative by them; slope may be null. veil: light that reaches a pixel besides the beam, relative to the beam that
// the bone's surroundings let through; at least 0. Nothing in a ray's way shows as exactly 0.
void show(const float* line, int count, float veil, float* attenuation, float* slope);

}  // namespace fluoropose
