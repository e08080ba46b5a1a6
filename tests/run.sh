#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test: the release build first, then everything that needs no
# LibTorch again under the address, undefined-behaviour and thread sanitizers. Ends with ctest's own summary of
# the release suite, and not with 0 if anything failed. What takes longer is in tests/full.sh.
#
#   tests/run.sh              all stages
#   tests/run.sh release      one or more of: deps release asan tsan
#
#   ELA_DEPS   where LibTorch and the Python clients are (default ~/.cache/ela-serve)
#   JOBS       parallel compilations and tests (default: the number of cores)
set -uo pipefail
cd "$(dirname "$0")/.."

stages=("$@")
[ ${#stages[@]} -gt 0 ] || stages=(deps release asan tsan)
jobs=${JOBS:-$(nproc)}
logs=build/logs
mkdir -p "$logs"
summary=()
failed=0

say() { printf '\n\033[1m[run]\033[0m %s\n' "$*"; }

# stage NAME COMMAND…: runs it, notes its minutes and whether it went well; a failure does not end the run.
stage() {
  local name=$1 start=$SECONDS result=ok
  shift
  say "$name"
  "$@" || { result=FAILED; failed=1; }
  local seconds=$((SECONDS - start))
  summary+=("$(printf '%-28s %6s  %3d min %02d s' "$name" "$result" $((seconds / 60)) $((seconds % 60)))")
  [ "$result" = ok ]
}

# quietly LOG COMMAND…: the output goes to a file; of a failure the end is shown.
quietly() {
  local log=$logs/$1
  shift
  "$@" >"$log" 2>&1 || { grep -E 'error|FAILED' "$log" | head -n 20; tail -n 25 "$log"; return 1; }
}

build() {  # PRESET
  quietly "$1-configure.log" cmake --preset "$1" || return 1
  quietly "$1-build.log" cmake --build "build/$1" -j "$jobs"
}

run_tests() {  # PRESET
  # The presets name the sanitizers' options: suppressions are for system libraries alone.
  ctest --preset "$1" -j "$jobs" --no-tests=error --output-log "$PWD/$logs/$1-tests.log"
}

for name in "${stages[@]}"; do
  case "$name" in
    deps)
      stage "install what is missing" bash deploy/install_deps.sh --test || exit 1 ;;
    release)
      # Its tests come last, so that the output ends with their summary.
      stage "release: build" build release || exit 1 ;;
    asan | tsan)
      # quietly: a green sanitizer run is one line, a red one shows its failures.
      stage "$name: build" build "$name" && stage "$name: tests" quietly "$name-ctest.log" run_tests "$name" \
        && tail -n 4 "$logs/$name-ctest.log" ;;
    *)
      echo "run.sh: unknown stage '$name' (known: deps release asan tsan)" >&2; exit 2 ;;
  esac
done
case " ${stages[*]} " in *" release "*)
  exec 3>&1
  stage "release: tests" run_tests release > >(tee "$logs/release-ctest.log" >&3)
  wait $!  # until tee has written all of it
  exec 3>&- ;;
esac

say "stages"
printf '  %s\n' "${summary[@]}"
printf '  %-28s %6s  %3d min %02d s\n' all "$([ $failed = 0 ] && echo ok || echo FAILED)" \
  $((SECONDS / 60)) $((SECONDS % 60))
if [ -f "$logs/release-ctest.log" ]; then
  say "release tests"
  sed -n '/tests passed,/,$p' "$logs/release-ctest.log"
fi
exit $failed
