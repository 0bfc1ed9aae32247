// Logarithms of many numbers at once.
#pragma once

namespace fluoropose {

// Adds share * log(x) to each of sums (count).
void add_logs(const float* x, int count, float share, float* sums);

}  // namespace fluoropose
