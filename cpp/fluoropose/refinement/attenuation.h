// What a stored frame shows of the body: the logarithm of its signal, taken together over blocks of pixels.
#pragma once

#include <cstddef>

namespace fluoropose {

// What stored numbers mean: signal = first + step * number, and no less than least, which is above 0 and at most 1.
struct StoredSignal {
  float first, step, least;
};

// means: (rows, columns) of -log(signal), each over block x block of the pixels, whose rows lie stride numbers apart.
// NaN becomes NaN. Stored: std::uint8_t, std::uint16_t or float. With all threads of OpenMP.
template <typename Stored>
void mean_attenuation(const Stored* pixels, std::ptrdiff_t stride, int rows, int columns, int block,
                      const StoredSignal& signal, float* means);

}  // namespace fluoropose
