# From a fresh clone on a bare Debian (12 or newer) or Ubuntu (24.04 or newer), `make demo` and `make test` do all set-up.
# Every step leaves a stamp, so that it runs again only when something it depends on has changed.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: setup demo picture demo-bundle demo-live test test-cpp test-sanitized test-python bench bench-peers lint stub tables format \
  cuda gpu clean

PYTHON ?= python3
# Compiler warnings are errors where CI is set.
WERROR := $(if $(CI),ON,OFF)
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
APT_PACKAGES := g++ cmake ninja-build git libceres-dev libeigen3-dev libgtest-dev
EXTRAS := train,video,refine,stream,export,simulate,test,lint

BIN := .venv/bin
SOURCES := CMakeLists.txt pyproject.toml README.md LICENSE \
  $(shell find cpp cuda python -type f -not -name '*.so' -not -name '*.pyc' -not -path '*/.*')
CPP_FILES = $(shell git ls-files '*.h' '*.cc' '*.cu' '*.cuh')

# Both names, because newer versions of pip keep apart the constraints of what is built and of what is installed.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_BUILD_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Spinning threads steal the cores from each other wherever two programs run at once.
export OMP_WAIT_POLICY := passive
export SKBUILD_CMAKE_DEFINE := FLUOROPOSE_WERROR=$(WERROR)

setup: .venv/.installed

demo: setup
	$(BIN)/fluoropose demo

# The picture in the README, from a finished demo.
picture: demo
	$(BIN)/python -m fluoropose.demo.picture out/demo .github/demo.png

# The network that ships with the package: trained anew, about ten minutes on two cores.
demo-bundle: setup
	$(BIN)/python -m fluoropose.demo.train --out python/fluoropose/data --work out/demo-bundle

# What bench/soak.py needs beside it; takes the landmarks that are installed.
demo-live: setup
	$(BIN)/python -m fluoropose.demo.train_live --bundle python/fluoropose/data/demo.fpbundle --work out/demo-live

test: test-cpp test-sanitized test-python

# --- set-up ---------------------------------------------------------------------------------------------------------

build/.system:
	@missing=(); \
	for package in $(APT_PACKAGES); do dpkg -s "$$package" >/dev/null 2>&1 || missing+=("$$package"); done; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv); \
	$(PYTHON) -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null \
	  || missing+=(python3-dev); \
	if (( $${#missing[@]} )); then \
	  echo "Installing system packages: $${missing[*]}"; \
	  $(SUDO) apt-get update -q; \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$${missing[@]}"; \
	fi
	@mkdir -p build && touch $@

# PyTorch first and alone: what comes later is then satisfied with it.
.venv/.torch: constraints.txt | build/.system
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fluoropose needs Python >= 3.11: make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q torch
	@touch $@

.venv/.installed: $(SOURCES) .venv/.torch
	$(BIN)/pip install -q '.[$(EXTRAS)]'
	@touch $@

# --- tests ----------------------------------------------------------------------------------------------------------

CTEST = ctest --test-dir $@ --output-on-failure
CONFIGURE = cmake -S . -B $@ -G Ninja -DFLUOROPOSE_PYTHON=OFF -DFLUOROPOSE_CUDA=OFF -DFLUOROPOSE_WERROR=$(WERROR)

.PHONY: build/test build/sanitized build/cuda
build/test: build/.system
	$(CONFIGURE) -DFLUOROPOSE_TESTS=ON
	cmake --build $@
	$(CTEST)

build/sanitized: build/.system
	$(CONFIGURE) -DFLUOROPOSE_TESTS=ON -DFLUOROPOSE_SANITIZE=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo
	cmake --build $@
	$(CTEST)

test-cpp: build/test
test-sanitized: build/sanitized

test-python: setup
	$(BIN)/pytest

# Compiles the CUDA sources with warnings as errors; needs nvcc, but no GPU.
cuda: build/cuda
build/cuda: build/.system
	cmake -S . -B $@ -G Ninja -DFLUOROPOSE_PYTHON=OFF -DFLUOROPOSE_CUDA=ON -DFLUOROPOSE_WERROR=ON
	cmake --build $@

# On a machine with a GPU: the tests that need one, and its benchmarks.
gpu: setup
	$(BIN)/pip install -q pybind11
	bench/gpu.sh out/gpu $(DATA)

# --- what is compared with what, see bench/ -------------------------------------------------------------------------

# Time and accuracy of the parts, beside the peers that are there (make bench-peers); where the real data is, also the
# trials, quickly. The committed numbers take longer.
DATA ?= $(wildcard ../shared/data)
bench: setup
	$(BIN)/python bench/triangulation.py --out out/bench/triangulation.json
	$(BIN)/python bench/drr_speed.py --out out/bench/drr_speed.json
	$(BIN)/python bench/soak.py --minutes 1 --out out/bench/soak.json
	$(BIN)/python bench/drr_growth.py --out out/bench/drr_growth.json $(if $(DATA),--data $(DATA)) --quick
	$(BIN)/python bench/drr_peers.py --out out/bench/drr_peers.json $(if $(DATA),--data $(DATA)) --rounds 3
	$(if $(DATA),$(BIN)/python bench/real_knee.py --data $(DATA) --out out/bench/real_knee.json --quick)
	$(if $(DATA),$(BIN)/python bench/lab_head.py --data $(DATA) --out out/bench/lab_head.json --quick)

# Other projects' renderers, for bench/drr_peers.py; plastimatch comes from the system's packages.
bench-peers: .venv-peers/.installed
.venv-peers/.installed: bench/peers-requirements.txt constraints.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install -q torch numpy
	PIP_CONSTRAINT= .venv-peers/bin/pip install -q --no-deps -r bench/peers-requirements.txt
	@command -v plastimatch >/dev/null || echo "plastimatch is not installed (apt-get install plastimatch)"
	@touch $@

# --- style ----------------------------------------------------------------------------------------------------------

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(CPP_FILES)
	$(BIN)/mypy
	$(BIN)/python bench/readme_tables.py --check
	$(BIN)/pybind11-stubgen fluoropose._core -o build/stubs --numpy-array-use-type-var --exit-code >/dev/null
	@diff -u python/fluoropose/_core.pyi build/stubs/fluoropose/_core.pyi \
	  || { echo "_core.pyi does not match the compiled module: run 'make stub' and commit it."; exit 1; }

stub: setup
	$(BIN)/pybind11-stubgen fluoropose._core -o build/stubs --numpy-array-use-type-var --exit-code
	cp build/stubs/fluoropose/_core.pyi python/fluoropose/_core.pyi

tables:
	$(PYTHON) bench/readme_tables.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP_FILES)

clean:
	rm -rf build .venv .venv-peers out
