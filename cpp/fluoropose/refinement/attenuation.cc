#include "fluoropose/refinement/attenuation.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "fluoropose/core/macros.h"
#include "fluoropose/refinement/logarithm.h"

namespace fluoropose {
namespace {

// A sum of logarithms is the logarithm of a product. Of 8 x 8 signals not below 0.3 the product is above 1e-34, which a
// float still holds with all its digits.
constexpr int kTogether = 8;

// products (columns): of the signals of some rows.
template <typename Stored>
FLUOROPOSE_TARGET_CLONES void multiply_rows(const Stored* pixels, std::ptrdiff_t stride, int rows, int columns,
                                            const StoredSignal& s, float* products) {
  const float first = s.first, step = s.step, least = s.least;
  std::fill_n(products, columns, 1.0f);
  for (int r = 0; r < rows; ++r) {
    const Stored* from = pixels + r * stride;
#pragma omp simd
    for (int u = 0; u < columns; ++u) {
      const float signal = first + step * static_cast<float>(from[u]);
      products[u] *= least > signal ? least : signal;  // in this order NaN stays
    }
  }
}

// out (count): of every block's columns [first, last).
FLUOROPOSE_TARGET_CLONES void multiply_columns(const float* products, int count, int block, int first, int last,
                                               float* out) {
  std::fill_n(out, count, 1.0f);
  for (int k = first; k < last; ++k) {
#pragma omp simd
    for (int i = 0; i < count; ++i) out[i] *= products[i * block + k];
  }
}

}  // namespace

template <typename Stored>
void mean_attenuation(const Stored* pixels, std::ptrdiff_t stride, int rows, int columns, int block,
                      const StoredSignal& signal, float* means) {
  const float share = -1.0f / (static_cast<float>(block) * static_cast<float>(block));
#pragma omp parallel
  {
    std::vector<float> products(static_cast<std::size_t>(columns) * block), factors(static_cast<std::size_t>(columns));
#pragma omp for schedule(static)
    for (int row = 0; row < rows; ++row) {
      float* out = means + static_cast<std::ptrdiff_t>(row) * columns;
      std::fill_n(out, columns, 0.0f);
      for (int v = 0; v < block; v += kTogether) {
        const Stored* from = pixels + (static_cast<std::ptrdiff_t>(row) * block + v) * stride;
        multiply_rows(from, stride, std::min(kTogether, block - v), columns * block, signal, products.data());
        for (int u = 0; u < block; u += kTogether) {
          multiply_columns(products.data(), columns, block, u, std::min(u + kTogether, block), factors.data());
          add_logs(factors.data(), columns, share, out);
        }
      }
    }
  }
}

template void mean_attenuation(const std::uint8_t*, std::ptrdiff_t, int, int, int, const StoredSignal&, float*);
template void mean_attenuation(const std::uint16_t*, std::ptrdiff_t, int, int, int, const StoredSignal&, float*);
template void mean_attenuation(const float*, std::ptrdiff_t, int, int, int, const StoredSignal&, float*);

}  // namespace fluoropose
