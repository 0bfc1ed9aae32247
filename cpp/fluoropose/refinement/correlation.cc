#include "fluoropose/refinement/correlation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "fluoropose/core/macros.h"
#include "fluoropose/refinement/tone.h"

namespace fluoropose {
namespace {

constexpr double kRounding = 1e-12;  // share of all tiles' squares: what is left in one where the image is constant

// out = the correlation of a row with a kernel; padded: the row with the kernel's reach of zeros at both ends.
FLUOROPOSE_TARGET_CLONES void filter_row(const float* padded, const std::vector<float>& kernel, int width, float* out) {
  const int taps = static_cast<int>(kernel.size());
  std::fill_n(out, width, 0.0f);
  for (int k = 0; k < taps; ++k) {
    const float c = kernel[static_cast<std::size_t>(k)];
    const float* from = padded + k;
#pragma omp simd
    for (int u = 0; u < width; ++u) out[u] += c * from[u];
  }
}

// out = the sum of rows times the kernel.
FLUOROPOSE_TARGET_CLONES void blend_rows(const float* const* rows, const std::vector<float>& kernel, int first,
                                         int last, float* out) {
  const int taps = static_cast<int>(kernel.size());
  std::fill(out + first, out + last, 0.0f);
  for (int k = 0; k < taps; ++k) {
    const float c = kernel[static_cast<std::size_t>(k)];
    const float* from = rows[k];
#pragma omp simd
    for (int u = first; u < last; ++u) out[u] += c * from[u];
  }
}

FLUOROPOSE_TARGET_CLONES void multiply(const float* a, const float* b, int count, float* out) {
#pragma omp simd
  for (int u = 0; u < count; ++u) out[u] = a[u] * b[u];
}

FLUOROPOSE_TARGET_CLONES float sum(const float* a, int count) {
  float total = 0;
#pragma omp simd reduction(+ : total)
  for (int u = 0; u < count; ++u) total += a[u];
  return total;
}

FLUOROPOSE_TARGET_CLONES float product(const float* a, const float* b, int count) {
  float total = 0;
#pragma omp simd reduction(+ : total)
  for (int u = 0; u < count; ++u) total += a[u] * b[u];
  return total;
}

// In place: (x - middle) scale where there is a weight, else 0.
FLUOROPOSE_TARGET_CLONES void standardise(float* x, const float* weights, int count, float middle, float scale) {
#pragma omp simd
  for (int u = 0; u < count; ++u) x[u] = weights[u] > 0.0f ? (x[u] - middle) * scale : 0.0f;
}

// The two derivatives of one image, row by row. Rows are asked for in rising order.
class FeatureRows {
 public:
  FeatureRows(const float* image, int width, int height, const std::vector<float>& smooth,
              const std::vector<float>& slope)
      : image_(image),
        width_(width),
        height_(height),
        smooth_(smooth),
        slope_(slope),
        taps_(static_cast<int>(smooth.size())),
        padded_(static_cast<std::size_t>(width + taps_)),
        along_(static_cast<std::size_t>(2 * taps_) * width) {}

  // out[0], out[1]: the derivatives along u and v in row v, columns [first, last).
  void at(int v, int first, int last, float* const out[2]) {
    const int reach = taps_ / 2;
    for (next_ = std::max(next_, v - reach); next_ <= v + reach; ++next_) take(next_);
    std::vector<const float*>& rows = rows_;
    rows.resize(static_cast<std::size_t>(taps_));
    for (int k = 0; k < taps_; ++k) rows[static_cast<std::size_t>(k)] = line(v - reach + k, 1);
    blend_rows(rows.data(), smooth_, first, last, out[0]);
    for (int k = 0; k < taps_; ++k) rows[static_cast<std::size_t>(k)] = line(v - reach + k, 0);
    blend_rows(rows.data(), slope_, first, last, out[1]);
  }

 private:
  // Row v smoothed (0) or derived (1) along u.
  float* line(int v, int which) {
    const int slot = ((v % taps_) + taps_) % taps_;
    return along_.data() + static_cast<std::ptrdiff_t>(2 * slot + which) * width_;
  }

  void take(int v) {
    if (v < 0 || v >= height_) {
      std::fill_n(line(v, 0), width_, 0.0f);
      std::fill_n(line(v, 1), width_, 0.0f);
      return;
    }
    std::copy_n(image_ + static_cast<std::ptrdiff_t>(v) * width_, width_, padded_.begin() + taps_ / 2);
    filter_row(padded_.data(), smooth_, width_, line(v, 0));
    filter_row(padded_.data(), slope_, width_, line(v, 1));
  }

  const float* image_;
  int width_, height_;
  const std::vector<float>&smooth_, &slope_;
  int taps_;
  int next_ = std::numeric_limits<int>::min();
  std::vector<float> padded_, along_;
  std::vector<const float*> rows_;
};

}  // namespace

GradientCorrelation::GradientCorrelation(const float* fixed, const float* weights, int width, int height,
                                         std::vector<float> smooth, std::vector<float> slope, int tile_px)
    : width_(width),
      height_(height),
      tile_px_(tile_px > 0 ? tile_px : std::max(width, height)),
      tiles_per_row_((width + tile_px_ - 1) / tile_px_),
      tiles_(tiles_per_row_ * ((height + tile_px_ - 1) / tile_px_)),
      reach_(static_cast<int>(smooth.size()) / 2),
      smooth_(std::move(smooth)),
      slope_(std::move(slope)),
      weights_(weights, weights + static_cast<std::ptrdiff_t>(width) * height),
      rows_(static_cast<std::size_t>(height)),
      top_(height),
      bottom_(0),
      weight_sums_(static_cast<std::size_t>(tiles_)) {
  for (int v = 0; v < height; ++v) {
    const float* row = weights_.data() + static_cast<std::ptrdiff_t>(v) * width;
    Extent e{width, 0};
    for (int u = 0; u < width; ++u) {
      if (!(row[u] > 0)) continue;
      e = {std::min(e.first, u), u + 1};
      weight_sums_[static_cast<std::size_t>(v / tile_px_ * tiles_per_row_ + u / tile_px_)] += row[u];
      counted_ += 1;
    }
    rows_[static_cast<std::size_t>(v)] = e;
    if (e.first < e.last) top_ = std::min(top_, v), bottom_ = v + 1;
  }
  prepare(fixed);
}

GradientCorrelation::Parts GradientCorrelation::parts() const {
  return {smooth_,
          slope_,
          tile_px_,
          tiles_per_row_,
          weights_.data(),
          {fixed_[0].data(), fixed_[1].data()},
          weight_sums_.data(),
          {shares_[0].data(), shares_[1].data()}};
}

template <typename Use>
void GradientCorrelation::each_piece(const Use& use) const {
  for (int v = top_; v < bottom_; ++v) {
    const Extent e = rows_[static_cast<std::size_t>(v)];
    for (int u = e.first; u < e.last;) {
      const int tile = u / tile_px_, end = std::min((tile + 1) * tile_px_, e.last);
      use(v, u, end, static_cast<std::size_t>(v / tile_px_ * tiles_per_row_ + tile));
      u = end;
    }
  }
}

void GradientCorrelation::prepare(const float* fixed) {
  for (auto& feature : fixed_) feature.assign(weights_.size(), 0.0f);
  FeatureRows features(fixed, width_, height_, smooth_, slope_);
  for (int v = top_; v < bottom_; ++v) {
    const Extent e = rows_[static_cast<std::size_t>(v)];
    const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(v) * width_;
    float* const out[kFeatures] = {fixed_[0].data() + at, fixed_[1].data() + at};
    features.at(v, e.first, std::max(e.first, e.last), out);
  }
  std::vector<float> weighted(static_cast<std::size_t>(width_));
  double total = 0;
  for (int f = 0; f < kFeatures; ++f) {
    float* const image = fixed_[f].data();
    std::vector<double> mean(weight_sums_.size()), square(mean), length(mean);
    each_piece([&](int v, int u, int end, std::size_t t) {
      const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(v) * width_ + u;
      multiply(image + at, weights_.data() + at, end - u, weighted.data());
      mean[t] += sum(weighted.data(), end - u);
      square[t] += product(weighted.data(), image + at, end - u);
    });
    const double floor = kRounding * std::accumulate(square.begin(), square.end(), 0.0);
    shares_[f].assign(weight_sums_.size(), 0.0);
    for (std::size_t t = 0; t < mean.size(); ++t) {
      if (!(weight_sums_[t] > 0)) continue;
      mean[t] /= weight_sums_[t];
      const double centred = square[t] - mean[t] * mean[t] * weight_sums_[t];
      if (!(centred > std::max(kFlat * square[t], floor))) continue;
      length[t] = std::sqrt(centred);
      shares_[f][t] = weight_sums_[t];
      total += weight_sums_[t];
    }
    each_piece([&](int v, int u, int end, std::size_t t) {
      const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(v) * width_ + u;
      const float middle = static_cast<float>(mean[t]);
      const float scale = length[t] > 0 ? static_cast<float>(1 / length[t]) : 0.0f;
      standardise(image + at, weights_.data() + at, end - u, middle, scale);
    });
  }
  for (auto& share : shares_) {
    for (double& one : share) one = total > 0 ? one / total : std::numeric_limits<double>::quiet_NaN();
  }
}

template <int kPlanes>
std::vector<Moments<kPlanes>> GradientCorrelation::gather(const float* const* planes) const {
  std::vector<Moments<kPlanes>> moments(static_cast<std::size_t>(kFeatures * tiles_));
  std::vector<FeatureRows> features;
  features.reserve(kPlanes);
  for (int i = 0; i < kPlanes; ++i) features.emplace_back(planes[i], width_, height_, smooth_, slope_);
  std::vector<float> memory(static_cast<std::size_t>((kFeatures * kPlanes + 1) * width_));
  const auto row_of = [&](int f, int i) {
    return memory.data() + static_cast<std::ptrdiff_t>(f * kPlanes + i) * width_;
  };
  float* const weighted = memory.data() + static_cast<std::ptrdiff_t>(kFeatures * kPlanes) * width_;
  int ready = -1;  // the row that the features are of
  each_piece([&](int v, int u, int end, std::size_t t) {
    const Extent e = rows_[static_cast<std::size_t>(v)];
    for (int i = 0; i < kPlanes && ready != v; ++i) {
      float* const out[kFeatures] = {row_of(0, i), row_of(1, i)};
      features[static_cast<std::size_t>(i)].at(v, e.first, e.last, out);
    }
    ready = v;
    const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(v) * width_ + u;
    const int count = end - u;
    for (int f = 0; f < kFeatures; ++f) {
      auto& m = moments[static_cast<std::size_t>(f * tiles_) + t];
      for (int i = 0; i < kPlanes; ++i) {
        multiply(row_of(f, i) + u, weights_.data() + at, count, weighted);
        m.one[i] += sum(weighted, count);
        m.with_fixed[i] += product(weighted, fixed_[f].data() + at, count);
        for (int j = 0; j <= i; ++j) m.two[m.product(i, j)] += product(weighted, row_of(f, j) + u, count);
      }
    }
  });
  return moments;
}

// planes: the moving image and, where there are seven, its derivative.
template <int kPlanes>
NormalStep GradientCorrelation::compare(const float* const* planes) const {
  const auto moments = gather<kPlanes>(planes);
  NormalStep step{};
  bool shows[kFeatures] = {};
  for (std::size_t f = 0; f < kFeatures; ++f) {
    for (std::size_t t = 0; t < weight_sums_.size(); ++t) {
      shows[f] |= add_tile(moments[f * weight_sums_.size() + t], weight_sums_[t], shares_[f][t], step);
    }
  }
  if (!shows[0] || !shows[1]) step.value = std::numeric_limits<double>::quiet_NaN();
  fill_upper_triangle(step);
  return step;
}

double GradientCorrelation::value(const float* moving) const { return compare<1>(&moving).value; }

NormalStep GradientCorrelation::step(const float* moving, const float* jacobian) const {
  const float* planes[7] = {moving};
  const std::ptrdiff_t plane = static_cast<std::ptrdiff_t>(width_) * height_;
  for (int i = 0; i < 6; ++i) planes[i + 1] = jacobian + i * plane;
  return compare<7>(planes);
}

int GradientCorrelation::best_veil(const float* moving, const std::vector<float>& veils) const {
  const int first = std::max(0, top_ - reach_), last = std::min(height_, bottom_ + reach_);
  const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(first) * width_;
  std::vector<float> attenuation(weights_.size());
  int best = 0;
  double most = -std::numeric_limits<double>::infinity();
  for (std::size_t k = 0; k < veils.size(); ++k) {
    if (veils[k] > 0) show(moving + at, (last - first) * width_, veils[k], attenuation.data() + at, nullptr);
    const double likeness = value(veils[k] > 0 ? attenuation.data() : moving);
    if (likeness > most) best = static_cast<int>(k), most = likeness;
  }
  return best;
}

}  // namespace fluoropose
