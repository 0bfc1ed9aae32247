// Vectors of as many lanes as a level of the instruction set has registers for (see cpu_level.h).
#pragma once

#include "fluoropose/core/cpu_level.h"

#if FLUOROPOSE_X86_LEVELS
namespace fluoropose {

template <int kLanes>
struct Vectors;

template <>
struct Vectors<8> {
  typedef float Floats __attribute__((vector_size(32)));
  typedef int Ints __attribute__((vector_size(32)));
  typedef double Pairs __attribute__((vector_size(32)));  // of neighbouring floats
};

template <>
struct Vectors<16> {
  typedef float Floats __attribute__((vector_size(64)));
  typedef int Ints __attribute__((vector_size(64)));
  typedef double Pairs __attribute__((vector_size(64)));
};

}  // namespace fluoropose
#endif
