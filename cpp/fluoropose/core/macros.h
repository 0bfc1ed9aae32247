#pragma once

// Marks the bodies that are compiled for both the CPU and CUDA. They are always inlined, so that each instruction set's
// copy of a CPU driver gets its own.
#if defined(__CUDACC__)
#define FLUOROPOSE_HD __host__ __device__ __forceinline__
#elif defined(__GNUC__)
#define FLUOROPOSE_HD inline __attribute__((always_inline))
#else
#define FLUOROPOSE_HD inline
#endif

// Marks a host function with hot vector loops: the compiler makes a second copy for processors with AVX2 and FMA, and
// the loader picks. Sanitizers cannot follow the picking.
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__CUDACC__)
#define FLUOROPOSE_TARGET_CLONES __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define FLUOROPOSE_TARGET_CLONES
#endif
