#include "fluoropose/refinement/cuda_climber.h"

#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <string>

#include "climbs.cuh"
#include "parcel.h"

namespace fluoropose {
namespace {

using cuda::Buffer;
using cuda::Comparison;
using cuda::FixedImage;
using cuda::kFeatures;
using cuda::kSums;
using cuda::launch;
using cuda::Patch;
using cuda::Pinned;
using cuda::Tile;

constexpr int kRounds = 4;  // between two looks of the host

void require(bool holds, const std::string& what) {
  if (!holds) throw std::invalid_argument(what);
}

ImageSize largest(const std::vector<ComparedView>& views) {
  ImageSize size{};
  for (const ComparedView& one : views) {
    size = {std::max(size.width, one.view.width), std::max(size.height, one.view.height)};
  }
  return size;
}

// Cuts the parts of each view's tiles that have a weight into patches.
void cut(const ComparedView& view, int number, double share, std::vector<Tile>& tiles, std::vector<Patch>& patches) {
  const GradientCorrelation& like = *view.similarity;
  const GradientCorrelation::Parts parts = like.parts();
  const auto counts = [&](const Patch& patch) {
    for (int v = patch.top; v < patch.bottom; ++v) {
      const float* const row = parts.weights + static_cast<std::ptrdiff_t>(v) * like.width();
      if (std::any_of(row + patch.left, row + patch.right, [](float weight) { return weight > 0; })) return true;
    }
    return false;
  };
  for (int top = 0; top < like.height(); top += parts.tile_px) {
    for (int left = 0; left < like.width(); left += parts.tile_px) {
      const int t = top / parts.tile_px * parts.tiles_per_row + left / parts.tile_px;
      if (!(parts.weight_sums[t] > 0)) continue;
      Tile tile{number, static_cast<int>(patches.size()), 0, parts.weight_sums[t], {}};
      for (int f = 0; f < kFeatures; ++f) tile.shares[f] = share * parts.shares[f][t];
      const int right = std::min(left + parts.tile_px, like.width());
      const int bottom = std::min(top + parts.tile_px, like.height());
      for (int v = top; v < bottom; v += cuda::kPatchHeight) {
        for (int u = left; u < right; u += cuda::kPatchWidth) {
          const Patch patch{number, u, v, std::min(u + cuda::kPatchWidth, right),
                            std::min(v + cuda::kPatchHeight, bottom)};
          if (counts(patch)) patches.push_back(patch);
        }
      }
      tile.last_patch = static_cast<int>(patches.size());
      tiles.push_back(tile);
    }
  }
}

cuda::Kernels kernels_of(const std::vector<ComparedView>& views) {
  const GradientCorrelation::Parts first = views[0].similarity->parts();
  const std::size_t taps = first.smooth.size();
  require(taps <= CudaClimber::kMostTaps, "smooth, slope: expected at most " + std::to_string(CudaClimber::kMostTaps) +
                                              " taps on a CUDA device, found " + std::to_string(taps));
  for (const ComparedView& view : views) {
    const GradientCorrelation::Parts other = view.similarity->parts();
    require(other.smooth == first.smooth && other.slope == first.slope, "views: expected the same kernels for all");
  }
  cuda::Kernels kernels{static_cast<int>(taps), {}, {}};
  std::copy_n(first.smooth.begin(), taps, kernels.smooth);
  std::copy_n(first.slope.begin(), taps, kernels.slope);
  return kernels;
}

// The finest that a view asks for.
const CudaRenderer& renderer_of(const std::vector<ComparedView>& views, const Affine3<double>& start, int device) {
  std::size_t number = views[0].fitting(start);
  for (const ComparedView& view : views) number = std::min(number, view.fitting(start));
  const CudaRenderer* renderer = views[0].renderers[number]->cuda();
  require(renderer && renderer->device() == device, "views: expected renderers on the climber's device");
  return *renderer;
}

}  // namespace

class CudaClimber::State {
 public:
  explicit State(int number) : device(number) {}

  // Brings all that the views have to compare with to the device.
  Comparison send(const std::vector<ComparedView>& views) {
    std::vector<Tile> tiles;
    std::vector<Patch> patches;
    std::vector<FixedImage> images;
    std::vector<View> placed;
    std::size_t pixels = 0;
    for (std::size_t n = 0; n < views.size(); ++n) {
      cut(views[n], static_cast<int>(n), 1.0 / static_cast<double>(views.size()), tiles, patches);
      pixels += cuda::Parcel::room<float>(static_cast<std::size_t>(views[n].view.width) * views[n].view.height);
    }
    parcel_.begin((1 + kFeatures) * pixels + cuda::Parcel::room<Tile>(tiles.size()) +
                  cuda::Parcel::room<Patch>(patches.size()) + cuda::Parcel::room<FixedImage>(views.size()) +
                  cuda::Parcel::room<View>(views.size()));
    for (const ComparedView& view : views) {
      const GradientCorrelation::Parts parts = view.similarity->parts();
      const std::size_t size = static_cast<std::size_t>(view.view.width) * view.view.height;
      FixedImage image{view.view.width, view.view.height, view.veil, parcel_.add(parts.weights, size), {}};
      for (int f = 0; f < kFeatures; ++f) image.fixed[f] = parcel_.add(parts.fixed[f], size);
      images.push_back(image), placed.push_back(view.view);
    }
    const Comparison comparison{static_cast<int>(views.size()),
                                largest(views).pixels(),
                                static_cast<int>(tiles.size()),
                                static_cast<int>(patches.size()),
                                parcel_.add(images.data(), images.size()),
                                parcel_.add(tiles.data(), tiles.size()),
                                parcel_.add(patches.data(), patches.size()),
                                kernels_of(views)};
    views_ = parcel_.add(placed.data(), placed.size());
    parcel_.send(stream.get());
    return comparison;
  }

  // Climbs from some of the starts to the end.
  void run(const CudaRenderer& renderer, const ImageSize& size, const Comparison& comparison,
           const Affine3<double>* starts, std::size_t count, const LevenbergSettings& settings,
           LevenbergResult* results) {
    const std::size_t pixels = count * comparison.views * comparison.plane;
    const std::size_t of_tiles = count * static_cast<std::size_t>(comparison.tile_count) * kFeatures;
    line_.reserve(pixels), jacobian_.reserve(6 * pixels);
    of_patches_.reserve(count * static_cast<std::size_t>(comparison.patch_count) * kFeatures * kSums);
    of_tiles_.reserve(of_tiles);
    DampedClimb* const climbs = climbs_here_.reserve(count);
    Affine3<double>* const poses = poses_here_.reserve(count);
    for (std::size_t n = 0; n < count; ++n) climbs[n] = climb_from(starts[n]), poses[n] = starts[n];
    climbs_.upload(climbs, count, stream.get()), poses_.upload(poses, count, stream.get());
    const PlacementsOnDevice at{static_cast<int>(count) * comparison.views, comparison.views, size, views_,
                                poses_.data()};
    // The looks are one more than the steps.
    for (int looks = 0; looks <= settings.iterations; looks += kRounds) {
      for (int round = 0; round < kRounds; ++round) look(renderer, at, comparison, settings, count);
      climbs_.download(climbs, count, stream.get());
      stream.wait();
      if (std::all_of(climbs, climbs + count, [](const DampedClimb& climb) { return climb.finished; })) break;
    }
    for (std::size_t n = 0; n < count; ++n) {
      results[n] = {climbs[n].best_pose, climbs[n].best, climbs[n].at_start, climbs[n].tried, climbs[n].converged, {}};
    }
  }

  int device;
  std::mutex turn;
  cuda::Stream stream;

 private:
  void look(const CudaRenderer& renderer, const PlacementsOnDevice& at, const Comparison& comparison,
            const LevenbergSettings& settings, std::size_t count) const {
    const unsigned climbs = static_cast<unsigned>(count);
    const cudaStream_t to = stream.get();
    renderer.jacobians(at, line_.data(), jacobian_.data(), to);
    launch(cuda::moments_kernel, {static_cast<unsigned>(comparison.patch_count), 1, climbs},
           {cuda::kPatchWidth, cuda::kMomentRows}, to, comparison, climbs_.data(), line_.data(), jacobian_.data(),
           of_patches_.data());
    launch(cuda::climb_kernel, {climbs}, {cuda::kClimbThreads}, to, comparison, settings, of_patches_.data(),
           of_tiles_.data(), climbs_.data(), poses_.data());
  }

  cuda::Parcel parcel_;
  const View* views_ = nullptr;  // in the parcel
  Buffer<float> line_, jacobian_;
  Buffer<double> of_patches_;
  Buffer<Moments<cuda::kPlanes>> of_tiles_;
  Buffer<DampedClimb> climbs_;
  Buffer<Affine3<double>> poses_;
  Pinned<DampedClimb> climbs_here_;
  Pinned<Affine3<double>> poses_here_;
};

CudaClimber::CudaClimber(int device) {
  if (device < 0 || device >= cuda_device_count()) throw std::runtime_error("device: no usable CUDA device");
  const cuda::OnDevice on(device);
  state_ = std::make_unique<State>(device);
}

CudaClimber::~CudaClimber() = default;

std::vector<LevenbergResult> CudaClimber::climb(const std::vector<ComparedView>& views,
                                                const std::vector<Affine3<double>>& starts,
                                                const LevenbergSettings& settings) const {
  require(!views.empty() && views.size() <= kMostViews,
          "views: expected 1 to " + std::to_string(kMostViews) + ", found " + std::to_string(views.size()));
  for (const ComparedView& view : views) {
    for (const Affine3<double>& start : starts) require_placed(view.view, start);
  }
  std::vector<LevenbergResult> results(starts.size());
  if (starts.empty()) return results;
  State& s = *state_;
  const cuda::Turn turn(s);
  const CudaRenderer& renderer = renderer_of(views, starts[0], s.device);
  const Comparison comparison = s.send(views);
  const std::size_t image_bytes = 7 * sizeof(float) * comparison.plane;
  const std::size_t at_once = std::clamp<std::size_t>(cuda::kMostScratch / (views.size() * image_bytes), 1,
                                                      std::min(cuda::kMostBlocksZ, starts.size()));
  for (std::size_t first = 0; first < starts.size(); first += at_once) {
    s.run(renderer, largest(views), comparison, starts.data() + first, std::min(at_once, starts.size() - first),
          settings, results.data() + first);
  }
  return results;
}

}  // namespace fluoropose
