#!/usr/bin/env bash
# What detector_peers.py needs, in a virtual environment of its own (about 6 GB): ONNX Runtime, onnx, and
# ultralytics with PyTorch to export the shapes of its networks with random weights. Ultralytics is AGPL-3.0: it
# is measured here, nothing of it is linked, copied or shipped. Safe to run again.
#
#   ELA_DEPS   where the environment goes (default ~/.cache/ela-serve)
set -euo pipefail
deps=${ELA_DEPS:-$HOME/.cache/ela-serve}
marker=$deps/peers/peers-1
if [ -f "$marker" ]; then echo "install_peers: $deps/peers is there"; exit 0; fi
[ -x "$deps/peers/bin/pip" ] || python3 -m venv "$deps/peers"
install() { "$deps/peers/bin/pip" install --quiet --disable-pip-version-check "$@"; }
install onnxruntime==1.32.0 onnx==1.23.2 numpy
install torch==2.11.0 torchvision==0.26.0
# Headless OpenCV: the other one wants a display's libraries.
install --no-deps ultralytics==8.4.190 ultralytics-thop==2.2.3
install opencv-python-headless matplotlib pillow pyyaml requests scipy psutil polars
touch "$marker"
echo "install_peers: done"
