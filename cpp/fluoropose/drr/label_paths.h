// The path of a ray through each of many labels, from one way through the slices. Body for CPU and CUDA.
#pragma once

#include "fluoropose/drr/ray_cast.h"
#include "fluoropose/volume/grid.h"

namespace fluoropose {

// Calls add(label, samples) with what the ray gathers of each label but 0, perhaps several times for one: of a sample,
// a label has the weight of those of its four voxels that hold it, as if it were interpolated alone.
template <typename Add>
FLUOROPOSE_HD void cast_labels(const Slices<Label>& slices, const JosephRay& ray, const Add& add) {
  Label label = 0;
  float sum = 0.0f;  // not yet added
  const auto gather = [&](Label of, float weight) {
    if (of != label) {
      if (label != 0) add(label, sum);
      label = of, sum = 0.0f;
    }
    sum += weight;
  };
  const SliceStrides& s = slices.strides;
  for (int i = 0; i < ray.count; ++i) {
    const float f = static_cast<float>(i);
    const Tap tap = joseph_tap(s, ray.a + f * ray.da, ray.b + f * ray.db, ray.k + i * ray.dk);
    const Label* q = slices.mu + tap.index;
    if (q[0] == q[s.a] && q[0] == q[s.b] && q[0] == q[s.a + s.b]) {
      gather(q[0], 1.0f);
      continue;
    }
    gather(q[0], (1.0f - tap.wa) * (1.0f - tap.wb));
    gather(q[s.a], tap.wa * (1.0f - tap.wb));
    gather(q[s.b], (1.0f - tap.wa) * tap.wb);
    gather(q[s.a + s.b], tap.wa * tap.wb);
  }
  if (label != 0) add(label, sum);
}

}  // namespace fluoropose
