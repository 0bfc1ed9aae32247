// What every bind_<concept>.cc shares. Bindings check and convert; they hold no algorithms.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>

#include "fluoropose/core/vec.h"

namespace py = pybind11;

// Inputs are converted to contiguous double arrays of this kind where they are small.
using DoubleArray = py::array_t<double, py::array::c_style | py::array::forcecast>;

// The upper rows of a (4, 4) matrix.
inline fluoropose::Affine3<double> to_affine(const DoubleArray& a, const char* name) {
  if (a.ndim() != 2 || a.shape(0) != 4 || a.shape(1) != 4) {
    throw py::value_error(std::string(name) + ": expected shape (4, 4)");
  }
  return fluoropose::affine_of(a.data());
}

void bind_distortion(py::module_& m);
void bind_drr(py::module_& m);
void bind_geometry(py::module_& m);
void bind_refinement(py::module_& m);
void bind_triangulation(py::module_& m);
