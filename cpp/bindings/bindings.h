// What every bind_<concept>.cc shares. Bindings check and convert; they hold no algorithms.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

namespace py = pybind11;

// Inputs are converted to contiguous double arrays of this kind where they are small.
using DoubleArray = py::array_t<double, py::array::c_style | py::array::forcecast>;

void bind_distortion(py::module_& m);
void bind_drr(py::module_& m);
void bind_geometry(py::module_& m);
void bind_triangulation(py::module_& m);
