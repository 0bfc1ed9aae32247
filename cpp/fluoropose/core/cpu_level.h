// One binary for every x86-64: hot loops are compiled for several levels of the instruction set (x86-64 psABI: v3 has
// AVX2 and FMA, v4 AVX-512) and the best one the machine has is picked when they are called.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FLUOROPOSE_X86_LEVELS 1
#define FLUOROPOSE_TARGET_V3 __attribute__((target("arch=x86-64-v3")))
#define FLUOROPOSE_TARGET_V4 __attribute__((target("arch=x86-64-v4")))
#else
#define FLUOROPOSE_X86_LEVELS 0
#endif

namespace fluoropose {

enum class CpuLevel { kBaseline, kV3, kV4 };

inline CpuLevel cpu_level() {
#if FLUOROPOSE_X86_LEVELS
  if (__builtin_cpu_supports("x86-64-v4")) return CpuLevel::kV4;
  if (__builtin_cpu_supports("x86-64-v3")) return CpuLevel::kV3;
#endif
  return CpuLevel::kBaseline;
}

}  // namespace fluoropose
