#!/usr/bin/env bash
# Everything that only a GPU can show, in one go: builds with CUDA, runs the tests that need a device (a missing one
# fails), measures our renderer beside its peers on the same GPU, refinement, the tracker, then trains and compares what
# wants a GPU: what is known soonest first. No step that fails but the build stops the others, and of one that is cut short
# the results so far are kept. Results go to the given folder; those worth keeping are committed under bench/results.
#
#     bench/gpu.sh [OUT] [DATA]              # by default out/gpu and ../shared/data
#     SECONDS_LEFT=540 bench/gpu.sh ...      # where a machine is lent for a time: what does not fit is cut short or left out
#     STEPS="tests drr" bench/gpu.sh ...     # some of the steps; without build, with the module that is there
#
# The step "refinement" takes the poster's trunk from a file TRUNK where DATA or SimpleITK is missing.
#
# OUT/steps.csv says of each step how long it took and its exit status (124: cut short, -: left out, no time or no data).
# Needs nvcc, the system packages of the Makefile and a Python with the package's dependencies and pybind11 (PYTHON, by
# default the one of .venv). The compiled module is put beside its sources, so nothing is installed.
set -uo pipefail
cd "$(dirname "$0")/.."
out=$(realpath -m "${1:-out/gpu}")
data=${2:-../shared/data}
python=$(command -v "${PYTHON:-.venv/bin/python}") || { echo "no Python at ${PYTHON:-.venv/bin/python}: make setup" >&2; exit 1; }
command -v nvidia-smi > /dev/null || { echo "no nvidia-smi: expected a machine with an NVIDIA GPU and its driver" >&2; exit 1; }
known="build tests drr kernels refinement soak training figure10"
for name in ${STEPS:-}; do
  [[ " $known " == *" $name "* ]] || { echo "STEPS: expected some of $known, found $name" >&2; exit 1; }
done
end=$((SECONDS + ${SECONDS_LEFT:-86400}))
failed=0
mkdir -p "$out"
echo "step,seconds,status" > "$out/steps.csv"

# step NAME LIMIT COMMAND...: runs it for at most LIMIT seconds, less where less is left; its output goes to OUT/NAME.log.
step() {
  local name=$1 limit=$2 start=$SECONDS left=$((end - SECONDS)) status=-
  shift 2
  if [[ -n ${STEPS:-} && " $STEPS " != *" $name "* ]]; then return 0; fi
  if ((left > 5)); then
    timeout --kill-after=10 $((left < limit ? left : limit)) "$@" > "$out/$name.log" 2>&1
    status=$?
    if [[ $status != 0 ]]; then
      failed=1
      tail -n 20 "$out/$name.log" >&2
    fi
  fi
  echo "$name,$((SECONDS - start)),$status" | tee -a "$out/steps.csv"
  [[ $status == 0 ]]
}
with_data() { if [[ -d $data ]]; then step "$@"; else echo "$1,0,-" | tee -a "$out/steps.csv"; fi; }

build() {
  cmake -S . -B build/gpu -DPython_EXECUTABLE="$python" -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)" \
    -DFLUOROPOSE_CUDA=ON ${ARCHITECTURES:+-DCMAKE_CUDA_ARCHITECTURES=$ARCHITECTURES} &&
    cmake --build build/gpu --parallel --target _core
}
# Each file in a process of its own: a fault of the device, or a crash, takes nothing from the others. Warnings are told
# and no more: packages may be of other versions than those that are pinned.
tests() {
  local status
  rm -rf "$out/tests" && mkdir "$out/tests"
  printf '%s\n' "$@" | OMP_NUM_THREADS=4 xargs -P 4 -I FILE bash -c 'tests_of FILE'
  status=$?
  cat "$out"/tests/*.log
  return $status
}
tests_of() {
  local name=$out/tests/${1##*/}
  "$python" -m pytest -W default -m needs_cuda --junitxml="${name%.py}.xml" "$1" > "${name%.py}.log" 2>&1 || [[ $? == 5 ]]  # none
}
# Only for this device: a quarter of the time.
ARCHITECTURES=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
export -f build tests tests_of
export out python ARCHITECTURES PYTHONPATH=python:tests/python${PYTHONPATH:+:$PYTHONPATH} FLUOROPOSE_REQUIRE_CUDA=1
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv | tee "$out/device.csv"

step build 300 bash -c build || exit 1
"$python" -c 'from fluoropose import _core as core
if not core.cuda_device_count(): raise SystemExit(f"fluoropose._core: expected a CUDA device, found none (built with CUDA: {core.built_with_cuda()})")
' || exit 1
mapfile -t marked < <(grep -l needs_cuda tests/python/test_*.py)
step tests 150 bash -c 'tests "$@"' tests "${marked[@]}"
drr=(bench/drr_gpu.py --out "$out/drr_gpu.json")
[[ -d $data ]] && drr+=(--data "$data")
step drr 210 "$python" "${drr[@]}"
step kernels 60 "$python" bench/drr_kernels.py --out "$out/drr_kernels.json" "${drr[@]:3}"
refinement=(bench/refinement_gpu.py --out "$out/refinement_gpu.json" --trunk "$out/trunk.npz")
if [[ -f ${TRUNK:-} ]]; then refinement+=(--trunk "$TRUNK"); elif [[ -d $data ]]; then refinement+=(--data "$data"); else refinement+=(--tables cost); fi
step refinement 120 "$python" "${refinement[@]}"
# Simulates its frames first, and a calibration where out/soak has none; 30 pairs a second for a minute.
step soak 180 "$python" bench/soak.py --minutes 1 --device cuda --paper-size --refine-ms 0 --work out/soak --out "$out/soak_gpu.json"
step training 150 "$python" bench/training_speed.py --seconds 10 --out "$out/training_speed.json"
# Trains at full size what is not there yet: landmark networks, segmentation, the CycleGAN's 40 epochs. Networks that are
# finished when it is cut short are used the next time.
with_data figure10 36000 "$python" bench/figure10.py --data "$data" --out "$out/figure10.json"
exit $failed
