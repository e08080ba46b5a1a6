#!/usr/bin/env bash
# Installs everything that ELA Serve needs to build and run on Debian 12: Debian packages, and LibTorch
# from its PyPI wheel in a virtual environment of its own. Safe to run again: what is there is left alone.
# As root, or as a user with sudo. Options: --test adds what tests/run.sh needs beyond the build; --no-torch leaves
# LibTorch out (530 MB): ela-server and ela do without, training and the reference model do not.
#
#   ELA_DEPS   where LibTorch goes (default ~/.cache/ela-serve)
set -euo pipefail

deps=${ELA_DEPS:-$HOME/.cache/ela-serve}
with_tests=0
with_torch=1
for argument in "$@"; do
  case "$argument" in
    --test) with_tests=1 ;;
    --no-torch) with_torch=0 ;;
    -h|--help) sed -n '2,7p' "$0" | sed 's/^# \{0,1\}//'; exit 0 ;;
    *) echo "install_deps: unknown option '$argument' (known: --test, --no-torch, --help)" >&2; exit 2 ;;
  esac
done

say()  { printf '\033[1m[deps]\033[0m %s\n' "$*"; }
stop() { printf 'install_deps: %s\n' "$*" >&2; exit 1; }

packages=(g++ cmake ninja-build ccache pkg-config
  libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc libabsl-dev
  prometheus-cpp-dev libspdlog-dev libcli11-dev nlohmann-json3-dev libpcre2-dev libssl-dev
  libturbojpeg0-dev libspng-dev libpugixml-dev libcairo2-dev fonts-dejavu-core
  librocksdb-dev libhiredis-dev
  libgtest-dev libgmock-dev libbenchmark-dev
  python3 python3-venv curl ca-certificates)

[ -r /etc/debian_version ] && command -v apt-get >/dev/null \
  || stop "this script knows Debian 12 (apt-get); on another system install the equivalents of: ${packages[*]}"

# Clang brings libFuzzer. redis-tools holds the Redis server's binary (redis-check-rdb is the same file) without
# starting a service on this machine, as the package redis-server would.
[ "$with_tests" = 0 ] || packages+=(clang-14 libclang-rt-14-dev redis-tools)

missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null)" = "install ok installed" ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || stop "needs root to install ${missing[*]}: run it as root, or install sudo"
    as_root=(sudo)
  fi
  say "installing Debian packages: ${missing[*]}"
  log=$(mktemp)
  "${as_root[@]}" apt-get update >"$log" 2>&1 \
    && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1 \
    || { tail -n 15 "$log" >&2; stop "apt-get could not install ${missing[*]} (full log: $log)"; }
  rm -f "$log"
else
  say "Debian packages: all ${#packages[@]} are there"
fi

# One lock, so that two runs at the same time do not write into one environment.
mkdir -p "$deps"
exec 9>"$deps/.lock"
flock 9

# LibTorch: the wheel holds headers and C++ libraries. --no-deps leaves out 2.5 GB of CUDA packages;
# the CPU libraries need only the CUDA runtime and CUPTI beside them.
venv() {  # NAME MARKER PIP-ARGUMENT...
  local name=$1 marker=$2; shift 2
  if [ -f "$deps/$name/$marker" ]; then say "$name: $marker is there"; return; fi
  local free_mb; free_mb=$(df -Pm "$deps" | awk 'NR==2 {print $4}')
  [ "$free_mb" -ge 3000 ] || stop "$deps has $free_mb MB free, $name needs 3000: set ELA_DEPS to another folder"
  say "$name: installing $marker into $deps/$name"
  [ -x "$deps/$name/bin/pip" ] || /usr/bin/python3 -m venv "$deps/$name" || stop "python3 -m venv failed for $deps/$name"
  "$deps/$name/bin/python" -m pip install --quiet --disable-pip-version-check "$@" \
    || stop "pip could not install $*: check the network and try again"
  touch "$deps/$name/$marker"
}
[ "$with_torch" = 0 ] || \
  venv torch torch-2.11.0 --no-deps torch==2.11.0 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85
if [ "$with_tests" = 1 ]; then
  # Clients and peers that nobody here wrote: a gRPC client in Python, Hugging Face's tokenizer as the truth.
  venv python clients-1 grpcio==1.66.2 grpcio-tools==1.66.2 grpcio-health-checking==1.66.2 grpcio-reflection==1.66.2 \
    googleapis-common-protos tokenizers==0.21.0 numpy
  # The truth of COCO's measure; the figures in tests/golden/detection are its own.
  venv python pycocotools-2.0.8 --no-deps pycocotools==2.0.8
fi
say "done"
