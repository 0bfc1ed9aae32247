// FLUOROPOSE_HD marks the bodies that are compiled for both the CPU and CUDA.
#pragma once

#if defined(__CUDACC__)
#define FLUOROPOSE_HD __host__ __device__ __forceinline__
#else
#define FLUOROPOSE_HD inline
#endif
