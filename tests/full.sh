#!/usr/bin/env bash
# What takes too long for every change: benchmarks, long runs, stress. Builds the release preset first. Each figure
# is one JSON object on standard output and in build/logs/full.jsonl; a machine that does other work at the same
# time makes all of them worthless.
#
#   tests/full.sh             everything
#   tests/full.sh --list      what there is
#   tests/full.sh NAME …      some of it
set -uo pipefail
cd "$(dirname "$0")/.."

tests=build/release/tests
results=build/logs/full.jsonl

# name | what it shows
known=(
  "decode      | tokens/s of the serving path: one sequence, 64 sequences, prefill; one thread, then all cores"
  "position    | time per token at position 1,000,000 against 1,000, and growth of memory (minutes)"
  "streams     | 64 streams over gRPC against the same engine in process"
  "detection   | pictures/s from JPEG to boxes over gRPC, latency at 70 % of that, memory over 100,000 pictures (minutes)"
  "stability   | the scheduler and kernel suites 20 times over, in random order"
  "stress      | e2e suites over and over beside a machine full of other work, 10 minutes"
)

names=()
for entry in "${known[@]}"; do names+=("${entry%% *}"); done
case "${1:-}" in
  -l | --list) printf '  %s\n' "${known[@]}"; exit 0 ;;
  -h | --help) sed -n '2,8p' "$0" | sed 's/^# \{0,1\}//'; printf '\n'; printf '  %s\n' "${known[@]}"; exit 0 ;;
esac
if [ $# -gt 0 ]; then
  for name in "$@"; do
    [[ " ${names[*]} " == *" $name "* ]] || { echo "full.sh: unknown name '$name' (see --list)" >&2; exit 2; }
  done
  names=("$@")
fi

mkdir -p build/logs
failed=()
say() { printf '\n\033[1m[full]\033[0m %s\n' "$*"; }
figure() { "$@" | tee -a "$results"; }

bash deploy/install_deps.sh --test || exit 1
say "build"
{ cmake --preset release && cmake --build build/release -j "$(nproc)"; } >build/logs/full-build.log 2>&1 \
  || { tail -n 25 build/logs/full-build.log; exit 1; }
models=("")  # random weights in the paper's configuration, then every language model that ships
detectors=()
for directory in deploy/models/*/; do
  [ -f "$directory/config.json" ] || continue
  if grep -q '"yolo_lat"' "$directory/config.json"; then
    detectors+=("${directory%/}")
  else
    models+=("${directory%/}")
  fi
done

decode() {
  local model
  for model in "${models[@]}"; do
    [ -z "$model" ] || echo "{\"model\": \"$model\"}"
    figure "$tests/bench/decode_bench" ${model:+--model "$model"} --threads 1 || return 1
    figure "$tests/bench/decode_bench" ${model:+--model "$model"} --threads "$(nproc)" || return 1
  done
}
position() { figure "$tests/bench/decode_bench" --threads 1 --position-ratio; }
detection() {
  local detector
  for detector in "${detectors[@]}"; do
    echo "{\"model\": \"$detector\"}"
    figure "$tests/bench/detect_service_bench" --model "$detector" --images 100000 || return 1
  done
}
streams() {
  local model
  for model in "${models[@]}"; do figure "$tests/bench/stream_bench" ${model:+--model "$model"} || return 1; done
}
stability() {
  ctest --test-dir build/release -R 'Engine|Planner|Worker|Golden|Exact' --repeat until-fail:20 --schedule-random \
    --output-on-failure -j "$(nproc)" | tail -n 20
}
stress() {
  local end=$((SECONDS + 600)) burners=() code=0
  for _ in $(seq "$(nproc)"); do
    (while :; do :; done) &
    burners+=($!)
  done
  while [ $SECONDS -lt $end ] && [ $code = 0 ]; do
    ctest --test-dir build/release -R '^e2e' --output-on-failure -j 2 >build/logs/stress.log 2>&1 || code=1
  done
  kill "${burners[@]}"
  [ $code = 0 ] || tail -n 40 build/logs/stress.log
  return $code
}

for name in "${names[@]}"; do
  say "$name"
  start=$SECONDS
  "$name" || failed+=("$name")
  printf '  %s: %d min %02d s\n' "$name" $(((SECONDS - start) / 60)) $(((SECONDS - start) % 60))
done
[ ${#failed[@]} -eq 0 ] || { say "failed: ${failed[*]}"; exit 1; }
say "all went well; the figures are in $results"
