// How dense matter shows in a frame: scatter and glare keep the deepest shadow from becoming darker still.
#pragma once

namespace fluoropose {

// The attenuation (count) that a frame shows of line integrals, -log((exp(-line) + veil) / (1 + veil)), and its
// derivative by them; slope may be null. veil: light that reaches a pixel besides the beam, relative to the beam that
// the bone's surroundings let through; at least 0. Nothing in a ray's way shows as exactly 0.
void show(const float* line, int count, float veil, float* attenuation, float* slope);

}  // namespace fluoropose
