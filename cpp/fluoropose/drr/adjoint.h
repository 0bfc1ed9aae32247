// The transposes of the renderers' samples: they give a value to the places that the sample reads. add(place, value)
// adds it there, as the device can. Bodies for CPU and CUDA.
#pragma once

#include "fluoropose/drr/shear_warp.h"

namespace fluoropose {

// Of Joseph's sample, to the four voxels around the ray.
template <typename Add>
FLUOROPOSE_HD void give_sample(float* values, const SliceStrides& s, float a, float b, int k, float value,
                               const Add& add) {
  const Tap tap = joseph_tap(s, a, b, k);
  float* q = values + tap.index;
  const float high = value * tap.wb, low = value - high;
  add(q, low * (1.0f - tap.wa));
  add(q + s.a, low * tap.wa);
  add(q + s.b, high * (1.0f - tap.wa));
  add(q + s.a + s.b, high * tap.wa);
}

// Of all samples of a ray.
template <typename Add>
FLUOROPOSE_HD void give_ray(float* values, const SliceStrides& s, const JosephRay& ray, float value, const Add& add) {
  for (int i = 0; i < ray.count; ++i) {
    const float f = static_cast<float>(i);
    give_sample(values, s, ray.a + f * ray.da, ray.b + f * ray.db, ray.k + i * ray.dk, value, add);
  }
}

// Of one intermediate pixel's sample in slab k.
template <typename Add>
FLUOROPOSE_HD void give_slab_sample(float* slabs, const SliceStrides& s, const SliceMap& map, int i, int j, int k,
                                    float value, const Add& add) {
  const float b = map.b + static_cast<float>(j) * map.db;
  if (!(b >= 0.0f && b < static_cast<float>(s.nb - 1))) return;
  give_sample(slabs, s, map.a + static_cast<float>(i) * map.da, b, k, value, add);
}

// Of warp_line(), for one detector pixel: to given, whose rows lie as those of the intermediate image's samples. Air
// passes the value on, since attenuation would show there; where an overshoot is cut off, only NaN passes.
template <typename Add>
FLUOROPOSE_HD void give_warp(const float* samples, float* given, int stride, const WarpTap& tap, float value,
                             const Add& add) {
  if (!tap.inside) return;
  if (warp_sum(samples + tap.index, stride, tap) < 0.0f) value *= 0.0f;
  if (value == 0.0f) return;
  const CubicWeights wi = cubic_weights(tap.ti), wj = cubic_weights(tap.tj);
  for (int r = 0; r < 4; ++r) {
    for (int c = 0; c < 4; ++c) add(given + tap.index + r * stride + c, value * tap.step_mm * wj.w[r] * wi.w[c]);
  }
}

}  // namespace fluoropose
