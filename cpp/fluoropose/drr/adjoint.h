// The transpose of Joseph's sample: gives a value to the four voxels around the ray instead of reading them.
#pragma once

#include "fluoropose/drr/joseph.h"

namespace fluoropose {

FLUOROPOSE_HD void give_sample(float* values, const SliceStrides& s, float a, float b, int k, float value) {
  const Tap tap = joseph_tap(s, a, b, k);
  float* q = values + tap.index;
  const float high = value * tap.wb, low = value - high;
  q[0] += low * (1.0f - tap.wa);
  q[s.a] += low * tap.wa;
  q[s.b] += high * (1.0f - tap.wa);
  q[s.a + s.b] += high * tap.wa;
}

}  // namespace fluoropose
