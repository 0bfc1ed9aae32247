#!/usr/bin/env bash
# Everything that only a GPU can show, in one go: builds with CUDA, runs the tests that need a device (a missing one
# fails), and the GPU's benchmarks. Results go to the given folder; those worth keeping are committed under bench/results.
#
#     bench/gpu.sh [OUT] [DATA]
#
# Needs nvcc, the system packages of the Makefile and a Python with the package's dependencies (PYTHON, by default the
# one of .venv). The compiled module is put beside its sources, so nothing is installed.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath -m "${1:-out/gpu}")
data=${2:-../shared/data}
python=$(command -v "${PYTHON:-.venv/bin/python}")
mkdir -p "$out"

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv | tee "$out/device.csv"
cmake -S . -B build/gpu -DPython_EXECUTABLE="$python" -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)" \
  -DFLUOROPOSE_CUDA=ON
cmake --build build/gpu --parallel

export PYTHONPATH=python:tests/python FLUOROPOSE_REQUIRE_CUDA=1
"$python" -m pytest -m needs_cuda --junitxml="$out/tests.xml"
"$python" bench/drr_gpu.py --out "$out/drr_gpu.json" $([ -d "$data" ] && echo --data "$data")
