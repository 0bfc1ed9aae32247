// What one view says about the landmarks, laid out for the processor's vector units.
#pragma once

#include <Eigen/Core>
#include <vector>

#include "fluoropose/geometry/pose.h"
#include "fluoropose/geometry/view.h"

namespace fluoropose {

// Projection of world mm to mm on the image plane, homogeneous: x = row 0 . (X, 1) / depth, y likewise with row 1,
// depth = row 2 . (X, 1). Depth is 0 at the source, 1 on the plane, and 1 everywhere for a parallel beam. x runs along
// u from the centre of pixel (0, 0), y at right angles to it on v's side.
struct PlaneCamera {
  Eigen::Matrix<double, 3, 4> rows;
  Eigen::Matrix2d mm_from_px;

  explicit PlaneCamera(const View& view);
  bool parallel() const { return rows.row(2).head<3>().isZero(0); }
};

// Four numbers that are worked on at once; the compiler maps them to whatever registers the machine has. Aligned in so
// many words: by default the alignment would follow the instruction set, which differs between a function's clones.
constexpr int kLanes = 4;
using Lanes = double __attribute__((vector_size(kLanes * sizeof(double)), aligned(kLanes * sizeof(double))));

struct ObservationBlock {
  Lanes x, y, z;  // mm, bone frame: the landmarks
  Lanes u, v;     // mm on the image plane: their predicted positions
  Lanes weight;   // of the squared distance; 0 in lanes that pad the last block
};

struct ViewObservations {
  PlaneCamera camera;
  std::vector<ObservationBlock> blocks;
  std::vector<int> ids;  // which landmark each observation is of
  int count = 0;

  // capacity: how many observations there may be, at least.
  ViewObservations(const PlaneCamera& plane, int capacity) : camera(plane) {
    blocks.reserve((capacity + kLanes - 1) / kLanes);
    ids.reserve(capacity);
  }
  void add(int id, const Eigen::Vector3d& landmark, const Eigen::Vector2d& predicted_mm, double weight);
  // Makes the unused lanes of the last block harmless. To be called once after the last add.
  void finish();

  Eigen::Vector3d landmark(int i) const;   // mm, bone frame
  Eigen::Vector2d predicted(int i) const;  // mm on the image plane
};

using Observations = std::vector<ViewObservations>;  // one per view

}  // namespace fluoropose
