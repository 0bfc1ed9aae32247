# Adds the CUDA drivers to the library, or what stands in for them. A macro-free include, so that enable_language runs at
# the top scope.
set(FLUOROPOSE_WITH_CUDA OFF)
if(NOT FLUOROPOSE_CUDA STREQUAL "OFF")
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    set(FLUOROPOSE_WITH_CUDA ON)
  elseif(FLUOROPOSE_CUDA STREQUAL "ON")
    message(FATAL_ERROR "FLUOROPOSE_CUDA=ON, but no nvcc was found. Put nvcc on the PATH, set CUDACXX, or use FLUOROPOSE_CUDA=AUTO.")
  endif()
endif()
message(STATUS "fluoropose: CUDA kernels ${FLUOROPOSE_WITH_CUDA}")

if(NOT FLUOROPOSE_WITH_CUDA)
  target_sources(fluoropose PRIVATE
    ${PROJECT_SOURCE_DIR}/cpp/fluoropose/drr/cuda_labels_absent.cc
    ${PROJECT_SOURCE_DIR}/cpp/fluoropose/drr/cuda_renderer_absent.cc
    ${PROJECT_SOURCE_DIR}/cpp/fluoropose/refinement/cuda_climber_absent.cc)
  return()
endif()

# Ampere (80, 86), Ada (89) and Hopper (90) ready to run, and PTX for what came later.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 86-real 89-real 90)
endif()
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)

# Objects rather than sources of the library: those who link it then need no CUDA compiler.
add_library(fluoropose_cuda OBJECT
  ${PROJECT_SOURCE_DIR}/cuda/fluoropose/cuda_climber.cu
  ${PROJECT_SOURCE_DIR}/cuda/fluoropose/cuda_labels.cu
  ${PROJECT_SOURCE_DIR}/cuda/fluoropose/cuda_renderer.cu)
target_include_directories(fluoropose_cuda PRIVATE ${PROJECT_SOURCE_DIR}/cpp)
# CMake before 3.26 does not know that nvcc speaks C++20: no standard for CMake to check, an option for nvcc.
set_property(TARGET fluoropose_cuda PROPERTY CXX_STANDARD)
target_compile_options(fluoropose_cuda PRIVATE -std=c++20 -Xcompiler=-Wall,-Wextra)
if(FLUOROPOSE_WERROR)
  target_compile_options(fluoropose_cuda PRIVATE -Werror=all-warnings -Xcompiler=-Werror)
endif()
target_sources(fluoropose PRIVATE $<TARGET_OBJECTS:fluoropose_cuda>)
# The static runtime finds the driver when it is first used: the library loads on machines without a GPU.
target_link_libraries(fluoropose PUBLIC CUDA::cudart_static)
