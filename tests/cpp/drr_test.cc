// The renderers' bodies and their CPU drivers at every level of the instruction set that this machine has.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "drr_scene.h"
#include "fluoropose/drr/ray_cast_cpu.h"
#include "fluoropose/drr/renderer.h"
#include "fluoropose/drr/shear_warp_cpu.h"

namespace fluoropose {
namespace {

std::vector<CpuLevel> levels_here() {
  std::vector<CpuLevel> levels{CpuLevel::kBaseline};
  if (cpu_level() != CpuLevel::kBaseline) levels.push_back(CpuLevel::kV3);
  if (cpu_level() == CpuLevel::kV4) levels.push_back(CpuLevel::kV4);
  return levels;
}

// Single precision: positions to 1e-6 of 25 voxels, 20 samples of at most 0.05, steps of up to 2 mm; 2e-6 was measured.
constexpr float kTolerance = 1e-5f;

class EveryBeam : public testing::TestWithParam<Beam> {};

// The view with its pixels so many times as far apart, about the same middle.
View spread(View view, double times) {
  const double u = 0.5 * view.width, v = 0.5 * view.height;
  view.origin = view.pixel_centre(u, v) - view.u_step * (u * times) - view.v_step * (v * times);
  view.u_step = view.u_step * times, view.v_step = view.v_step * times;
  return view;
}

void expect_same(const std::vector<float>& found, const std::vector<float>& expected, CpuLevel level) {
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (std::isnan(expected[i]) && std::isnan(found[i])) continue;
    ASSERT_NEAR(found[i], expected[i], kTolerance) << "pixel " << i << " level " << int(level);
  }
}

template <bool kBone>
Images cast_one_by_one(const Grid<float>& grid, const VoxelView& view) {
  Images images(view.width, view.height);
  for (int v = 0; v < view.height; ++v) {
    for (int u = 0; u < view.width; ++u) {
      const JosephRay ray = joseph_ray(grid.size(), view, u, v);
      const RaySums sums = cast_ray<kBone>(grid.slices(ray.axis), ray);
      store_pixel<kBone>(sums, ray.step_mm, v * view.width + u, images.out());
    }
  }
  return images;
}

// From rays that are so close that a packet's read the same voxels to rays that miss most; one voxel is NaN, and must
// be seen by those alone that meet it.
TEST_P(EveryBeam, RayCastDriverSumsWhatTheBodySums) {
  Phantom phantom;
  phantom.mu[(9 * kNy + 8) * kNx + 10] = std::nanf("");
  phantom.mu[(2 * kNy + 1) * kNx + 3] = std::nanf("");  // a corner of the occupied box, which rays pass outside
  const Grid<float> grid = phantom.grid();
  std::ptrdiff_t lost = 0, pixels = 0;
  for (const double times : {0.2, 0.5, 1.0, 3.0}) {
    const View view = spread(view_of(GetParam()), times);
    float largest = 0;
    for (const auto& pose : kPoses) {
      const VoxelView seen = voxel_view(view, pose, grid.voxel_from_bone());
      const Images expected = cast_one_by_one<true>(grid, seen);
      for (const CpuLevel level : levels_here()) {
        Images found(view);
        ray_cast_cpu(grid, seen, found.out(), level);
        expect_same(found.line, expected.line, level);
        expect_same(found.bone, expected.bone, level);
        std::ptrdiff_t others = 0;  // a voxel half-way is the nearest or not by rounding
        for (std::size_t i = 0; i < found.mask.size(); ++i) others += found.mask[i] != expected.mask[i];
        EXPECT_LE(others, 1);
      }
      for (const float bone : expected.bone) largest = std::max(largest, bone);
      pixels += static_cast<std::ptrdiff_t>(expected.line.size());
      lost += std::count_if(expected.line.begin(), expected.line.end(), [](float x) { return std::isnan(x); });
    }
    EXPECT_GT(largest, 0.1f) << times;
  }
  EXPECT_GT(lost, 0);
  EXPECT_LT(lost, pixels / 4);
}

// A few voxels far apart in much air: none is cut away with the air.
TEST_P(EveryBeam, RayCastDriverFindsTheLastVoxelInAir) {
  constexpr int kSide = 61;
  std::vector<float> mu(kSide * kSide * kSide);
  for (const auto& [x, y, z] :
       {std::array{7, 50, 5}, {48, 9, 52}, {30, 31, 20}, {12, 22, 44}, {40, 41, 33}, {25, 8, 9}}) {
    mu[static_cast<std::size_t>((z * kSide + y) * kSide + x)] = 1.0f;
  }
  const Affine3<double> map{{0.5, 0, 0}, {0, 0.4, 0}, {0, 0, 0.6}, {-15, -12, -18}};
  const Grid<float> grid(mu.data(), nullptr, kSide, kSide, kSide, map, Crop::kWhole);
  std::ptrdiff_t met = 0;
  for (const double times : {0.5, 1.0, 2.5, 40.0}) {
    const View view = spread(view_of(GetParam()), times);
    for (const auto& pose : kPoses) {
      const VoxelView seen = voxel_view(view, pose, grid.voxel_from_bone());
      const Images expected = cast_one_by_one<false>(grid, seen);
      met += std::count_if(expected.line.begin(), expected.line.end(), [](float x) { return x > 0.001f; });
      for (const CpuLevel level : levels_here()) {
        Images found(view);
        ray_cast_cpu(grid, seen, {found.line.data(), nullptr, nullptr}, level);
        expect_same(found.line, expected.line, level);
      }
    }
  }
  EXPECT_GT(met, 20);
}

TEST_P(EveryBeam, ShearWarpDriverSumsWhatTheBodySums) {
  const Grid<float> grid = Phantom().grid();
  const View view = view_of(GetParam());
  int planned = 0;
  for (const auto& pose : kPoses) {
    ShearPlan plan;
    const int axis = shear_axis(voxel_view(view, pose, grid.voxel_from_bone()));
    const Slabs<float>& slabs = grid.slabs(axis);
    if (!plan_shear(slabs.size, voxel_view(view, pose, slabs.voxel_from_bone), axis, plan)) continue;
    ++planned;
    const Slices<float> slices = slabs.slices();
    const std::size_t size = static_cast<std::size_t>(plan.width) * plan.height;
    std::vector<float> line(size), bone(size), near(size);
    for (int j = 0; j < plan.height; ++j) {
      for (int i = 0; i < plan.width; ++i) {
        const RaySums sums = cast_ray<true>(slices, shear_ray(plan, slices.strides, i, j));
        const std::size_t at = static_cast<std::size_t>(j) * plan.width + i;
        line[at] = sums.line, bone[at] = sums.bone, near[at] = sums.nearest_bone;
      }
    }
    Images expected(view);
    const ShearSums sums{line.data(), bone.data(), near.data(), nullptr, plan.width};
    for (int v = 0; v < view.height; ++v) {
      for (int u = 0; u < view.width; ++u) {
        warp_pixel<true>(sums, warp_tap(plan, plan.width, u, v), v * view.width + u, expected.out());
      }
    }
    for (const CpuLevel level : levels_here()) {
      Images found(view);
      shear_warp_cpu(slabs, plan, view.width, view.height, found.out(), level);
      int different = 0;
      for (std::size_t i = 0; i < found.line.size(); ++i) {
        ASSERT_NEAR(found.line[i], expected.line[i], kTolerance) << "pixel " << i << " level " << int(level);
        ASSERT_NEAR(found.bone[i], expected.bone[i], kTolerance) << "pixel " << i << " level " << int(level);
        different += found.mask[i] != expected.mask[i];
      }
      EXPECT_LE(different, 1) << "level " << int(level);  // a weight of one half may round either way
    }
  }
  EXPECT_GE(planned, 4);
}

INSTANTIATE_TEST_SUITE_P(Beams, EveryBeam, testing::Values(Beam::kPoint, Beam::kParallel),
                         [](const auto& beam) { return beam.param == Beam::kPoint ? "Point" : "Parallel"; });

TEST(Grid, KeepsTheOccupiedBoxWithinARim) {
  const Grid<float> grid = Phantom().grid();
  EXPECT_EQ(grid.size().x, kNx - 5 + 2);
  EXPECT_EQ(grid.size().y, kNy - 1 + 2);
  EXPECT_EQ(grid.size().z, kNz - 3 + 2);
  // Voxel (3, 1, 2) of the volume is the first inside the rim.
  const Vec3<double> bone = kBoneFromVoxel({3, 1, 2});
  const Vec3<double> index = grid.voxel_from_bone()(bone);
  EXPECT_NEAR(index.x, 1, 1e-12);
  EXPECT_NEAR(index.y, 1, 1e-12);
  EXPECT_NEAR(index.z, 1, 1e-12);
}

TEST(Slabs, HoldTheMeansOfSlices) {
  const Grid<float> grid = Phantom().grid();
  for (int axis = 0; axis < 3; ++axis) {
    const Slices<float> across = grid.slices(axis);
    const Slabs<float>& slabs = grid.slabs(axis);
    const SliceStrides &s = across.strides, &to = slabs.strides;
    ASSERT_EQ(to.a, 1);
    EXPECT_EQ(to.nk, (s.nk - 2 + slabs.thickness - 1) / slabs.thickness + 2);
    for (int m = 1; m < to.nk - 1; ++m) {
      for (int b = 0; b < s.nb; ++b) {
        const Extent extent = slabs.mu_extents[b + to.nb * m];
        for (int a = 0; a < s.na; ++a) {
          float sum = 0;
          for (int k = (m - 1) * slabs.thickness + 1; k <= m * slabs.thickness && k < s.nk; ++k) {
            sum += across.mu[a * s.a + b * s.b + k * s.k];
          }
          const float value = slabs.mu[a + b * to.b + m * to.k];
          EXPECT_FLOAT_EQ(value, sum / static_cast<float>(slabs.thickness));
          EXPECT_TRUE(value == 0 || (extent.first <= a && a < extent.last));
        }
      }
    }
    // The middle of the first slab is that of its slices.
    const double first = 1 + 0.5 * (slabs.thickness - 1);
    const Vec3<double> at = grid.voxel_from_bone()({0, 0, 0}), slab = slabs.voxel_from_bone({0, 0, 0});
    EXPECT_NEAR((component(at, axis) - first) / slabs.thickness, component(slab, axis) - 1, 1e-9);
  }
}

TEST(Slabs, SpreadIsTheTransposeOfTakingTogether) {
  const Grid<float> grid = Phantom().grid();
  for (int axis = 0; axis < 3; ++axis) {
    const Slices<float> across = grid.slices(axis);
    const Slabs<float>& slabs = grid.slabs(axis);
    std::vector<float> weights(slabs.mu.size()),
        back(static_cast<std::size_t>(across.strides.nk) * across.strides.na * across.strides.nb);
    for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>((i * 7919) % 101);
    spread(slabs, weights.data(), across.strides, back.data());
    double forward = 0, backward = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) forward += static_cast<double>(weights[i]) * slabs.mu[i];
    for (std::size_t i = 0; i < back.size(); ++i) backward += static_cast<double>(back[i]) * across.mu[i];
    EXPECT_NEAR(forward, backward, 1e-5 * forward);
    EXPECT_GT(forward, 0);
  }
}

TEST(PlanShear, GivesWayWhereTheSourceIsWithinTheSlices) {
  const Grid<float> grid = Phantom().grid();
  View view = view_of(Beam::kPoint);
  ShearPlan plan;
  EXPECT_TRUE(plan_shear(grid.size(), voxel_view(view, kPoses[0], grid.voxel_from_bone()), 2, plan));
  view.source = {0, 0, 2};
  EXPECT_FALSE(plan_shear(grid.size(), voxel_view(view, kPoses[0], grid.voxel_from_bone()), 2, plan));
}

void expect_invalid(const std::string& name, const auto& call) {
  try {
    call();
    FAIL() << "expected an error about " << name;
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find(name), std::string::npos) << error.what();
  }
}

TEST(Renderer, NamesTheArgumentThatIsWrong) {
  const Phantom phantom;
  const auto make = [&](int nx, const Affine3<double>& map) {
    return Renderer(phantom.mu.data(), nullptr, nx, kNy, kNz, map, Method::kRayCast, Device::kCpu);
  };
  expect_invalid("mu", [&] { make(0, kBoneFromVoxel); });
  expect_invalid("bone_from_voxel", [&] { make(kNx, {{1, 0, 0}, {2, 0, 0}, {0, 0, 1}, {}}); });
  const Renderer renderer = make(kNx, kBoneFromVoxel);
  View view = view_of(Beam::kPoint);
  Images images(view);
  expect_invalid("bone", [&] { renderer.render(view, kPoses[0], images.out()); });
  Affine3<double> scaled = kPoses[0];
  scaled.row0 = scaled.row0 * 1.01;
  expect_invalid("world_from_bone", [&] { renderer.render(view, scaled, {images.line.data(), nullptr, nullptr}); });
  view.width = 0;
  expect_invalid("view", [&] { renderer.render(view, kPoses[0], {images.line.data(), nullptr, nullptr}); });
}

}  // namespace
}  // namespace fluoropose
