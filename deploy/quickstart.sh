#!/usr/bin/env bash
# From a fresh clone to a language model that streams text and a detector that finds cells, in one command: installs
# what is missing, builds server and client, starts the server with the models that ship, lets it continue a real text
# and look at photographs, shows live metrics and says what to try next. Safe to run again: what is done stays done.
#
#   deploy/quickstart.sh [--keep] [--model DIR] [--tokens N]
#
#   --keep        leave the server running at the end (otherwise it is stopped)
#   --model DIR   another checkpoint than deploy/models/ela-7m
#   --tokens N    length of the continuation (default 160)
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

keep=0
model=deploy/models/ela-7m
detector=deploy/models/ela-det
tokens=160
while [ $# -gt 0 ]; do
  case "$1" in
    --keep) keep=1 ;;
    --model) [ $# -ge 2 ] || { echo "quickstart: --model needs a directory" >&2; exit 2; }; model=$2; shift ;;
    --tokens) [ $# -ge 2 ] || { echo "quickstart: --tokens needs a number" >&2; exit 2; }; tokens=$2; shift ;;
    -h | --help) sed -n '2,10p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
    *) echo "quickstart: unknown option '$1' (see --help)" >&2; exit 2 ;;
  esac
  shift
done
[[ $tokens =~ ^[1-9][0-9]{0,4}$ ]] || { echo "quickstart: --tokens is '$tokens', allowed are 1 to 99999" >&2; exit 2; }

if [ -t 1 ]; then
  bold=$'\033[1m' dim=$'\033[2m' green=$'\033[32m' off=$'\033[0m' clear=$'\r\033[K'
else
  bold='' dim='' green='' off='' clear=''
fi
build=build/quickstart
run=$(mktemp -d)  # logs and the ready file of this run
server_pid=''
streams=()

step() { printf '\n%s%s%s\n' "$bold" "$*" "$off"; }
note() { printf '%s  %s%s\n' "$dim" "$*" "$off"; }
stop() { printf '\nquickstart: %s\n' "$*" >&2; exit 1; }

finish() {
  local code=$?
  [ ${#streams[@]} -eq 0 ] || kill "${streams[@]}" 2>/dev/null
  if [ -n "$server_pid" ] && { [ "$keep" = 0 ] || [ "$code" != 0 ]; }; then
    kill -TERM "$server_pid" 2>/dev/null && wait "$server_pid" 2>/dev/null
    note "The server has drained and stopped."
  fi
  [ "$keep" = 1 ] && [ "$code" = 0 ] || rm -rf "$run"
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

# The last line of ninja's output, over and over on one line of a terminal.
show_progress() {
  if [ -t 1 ]; then
    while IFS= read -r line; do
      case "$line" in "["*) printf '%s  %s' "$clear" "${line:0:90}" ;; esac
    done
    printf '%s' "$clear"
  else
    cat >/dev/null
  fi
}

# --- 1. What it needs ------------------------------------------------------------------------------------------
step "1/6  What is missing"
[ -f "$model/config.json" ] || stop "there is no model in $model (no config.json): give another with --model DIR"
bash deploy/install_deps.sh --no-torch || stop "the packages could not be installed: see above, and README.md, Setting up"

# --- 2. Build --------------------------------------------------------------------------------------------------
step "2/6  Building ela-server and ela"
start=$SECONDS
[ -x $build/bin/ela-server ] || note "The first time takes some minutes; the log is in $build.log."
mkdir -p build
cmake -S . -B $build -G Ninja -DCMAKE_BUILD_TYPE=Release -DELA_TORCH=OFF -DELA_TESTS=OFF >$build.log 2>&1 \
  || { tail -n 15 $build.log >&2; stop "cmake could not configure the build: see $build.log"; }
cmake --build $build --target ela-server ela 2>&1 | tee -a $build.log | show_progress
[ "${PIPESTATUS[0]}" = 0 ] \
  || { grep -m 5 -E 'error|Killed' $build.log >&2; stop "the build failed: the whole log is in $build.log"; }
note "Done in $((SECONDS - start)) s."
ela=$build/bin/ela

# --- 3. Start --------------------------------------------------------------------------------------------------
step "3/6  Starting the server with $model and $detector"
begin=$(date +%s%N)
$build/bin/ela-server --model "$model" --model $detector --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 \
  --ready-file "$run/ready" >"$run/server.log" 2>&1 9>&- &
server_pid=$!
until [ -s "$run/ready" ]; do
  kill -0 "$server_pid" 2>/dev/null \
    || { tail -n 5 "$run/server.log" >&2; server_pid=''; stop "the server did not start: its own words are above"; }
  [ $(($(date +%s%N) - begin)) -lt 60000000000 ] || stop "the server is not ready after 60 s: see $run/server.log"
  sleep 0.02
done
ready_ms=$((($(date +%s%N) - begin) / 1000000))
address=$(sed -n 's/.*listen=\([^ ]*\).*/\1/p' "$run/ready" | head -n 1)
metrics=$(sed -n 's/.*metrics=\([^ ]*\).*/\1/p' "$run/ready" | head -n 1)
[ -n "$address" ] && [ -n "$metrics" ] || stop "the server did not say where it listens: $(cat "$run/ready")"
export ELA_SERVER=$address
note "Ready after $ready_ms ms at $address, metrics at http://$metrics/metrics."
echo
$ela models || stop "the server does not answer"

# --- 4. Generate -----------------------------------------------------------------------------------------------
step "4/6  A real text, and how the model continues it"
note "The end of deploy/quickstart.txt, a public document that the shipped model was not trained on:"
echo
printf '%s' "$dim"
tail -n 5 deploy/quickstart.txt | fold -s -w 100
printf '%s\n%s  --- from here on the model writes ---%s\n%s' "$off" "$dim" "$off" "$green"
$ela generate --file deploy/quickstart.txt -n "$tokens" --temperature 0.75 --top-p 0.9 --min-p 0.02 --seed 8 \
  --stats 2>"$run/stats"
code=$?
printf '%s' "$off"
[ $code = 0 ] || { cat "$run/stats" >&2; stop "the stream ended with exit code $code"; }
grep -v '^$' "$run/stats" | while IFS= read -r line; do note "$line"; done

# --- 5. Detect -------------------------------------------------------------------------------------------------
step "5/6  Photographs of blood, and what the detector finds in them"
note "Three pictures of deploy/samples, which the detector was not trained on; at most five objects of each:"
echo
boxes=$build/boxes
$ela detect deploy/samples --model "$(basename $detector)" --max 5 2>/dev/null \
  || stop "the detector does not answer"
$ela detect deploy/samples --model "$(basename $detector)" --draw $boxes >/dev/null 2>&1 \
  || stop "the boxes could not be drawn into $boxes"
echo
note "All of them are drawn into $boxes: open $(ls $boxes/*.jpg | head -n 1)."

# --- 6. Metrics ------------------------------------------------------------------------------------------------
# digest FILE: what an operator looks at first, from Prometheus' text format.
digest() {
  awk '
    /^#/ { next }
    { name = $1; sub(/\{.*/, "", name); value[name] += $2 }
    /reason="(length|end_of_text|stop_token|stop_string)"/ { good += $2 }
    /^ela_expert_tokens_total/ {
      match($1, /expert="[0-9]+"/); e = substr($1, RSTART + 8, RLENGTH - 9) + 0
      expert[e] += $2; all += $2; if (e > last) last = e
    }
    function ms(name) {
      return value[name "_count"] ? sprintf("%.2f ms", 1000 * value[name "_sum"] / value[name "_count"]) : "-"
    }
    END {
      printf "  %-26s %d running, %d waiting, %d finished\n", "requests",
        value["ela_requests_running"], value["ela_requests_waiting"], good
      printf "  %-26s %d of %d, %.2f MB each, whatever the length\n", "slots in use",
        value["ela_slots_used"], value["ela_slots_capacity"], value["ela_slot_state_bytes"] / 1e6
      printf "  %-26s %d\n", "tokens computed", value["ela_step_tokens_total"]
      printf "  %-26s %s\n", "time to first token", ms("ela_time_to_first_token_seconds")
      printf "  %-26s %s\n", "time per token", ms("ela_time_per_output_token_seconds")
      printf "  %-26s %.1f sequences in a step of %s\n", "batch",
        value["ela_step_sequences_count"] ? value["ela_step_sequences_sum"] / value["ela_step_sequences_count"] : 0,
        ms("ela_step_seconds")
      if (all > 0) {
        printf "  %-26s", "share of each expert"
        for (e = 0; e <= last; ++e) printf " %d %%", 100 * expert[e] / all + 0.5
        printf "\n"
      }
      printf "  %-26s %.0f MB\n", "memory of the server", value["process_resident_memory_bytes"] / 1e6
    }' "$1"
}

step "6/6  Live metrics, while 8 streams run at once"
for seed in 1 2 3 4 5 6 7 8; do
  $ela generate "## Abstract" -n 20000 --seed $seed --ignore-eos >/dev/null 2>&1 &
  streams+=($!)
done
sleep 2  # long enough for a mean, short enough for a visitor
curl -fsS --max-time 10 "http://$metrics/metrics" >"$run/metrics" || stop "the metrics at http://$metrics/metrics do not answer"
kill "${streams[@]}" 2>/dev/null
wait "${streams[@]}" 2>/dev/null
streams=()
digest "$run/metrics"

# --- What next -------------------------------------------------------------------------------------------------
step "What to try next"
if [ "$keep" = 1 ]; then
  disown "$server_pid"
  cat <<NEXT
  The server runs on as process $server_pid; its log is $run/server.log (remove $run when you are done).

    export ELA_SERVER=$address
    $ela generate "## Abstract" -n 200 --stats
    $ela detect YOUR-PICTURE.jpg --draw out.png
    $ela generate "Rationale" --json --logprobs -n 20
    $ela models $(basename "$model")
    curl http://$metrics/metrics
    kill $server_pid            # drains, then stops
NEXT
else
  cat <<NEXT
    bash deploy/quickstart.sh --keep        the same, and the server stays for you to play with
    $ela --help              generate, score, detect, models, tokenize, with examples
    $build/bin/ela-server --help
    bash tests/run.sh                       builds and passes every test
    README.md                               first calls from C++ and Python; configuration; metrics
NEXT
fi
