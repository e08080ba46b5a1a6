"""Times this project's detectors beside others in one interleaved run, one thread, batch 1, networks alone.

    python tests/bench/detector_peers.py [--build build/release] [--rounds 15] [--json FILE]

Needs tests/bench/install_peers.sh once, and detector_bench (target detector_bench). Takes about two minutes.
Every round times each network a few times in turn; what is printed is the median over all, and the median of the
ratios within rounds, so that a busy neighbour who comes and goes moves all columns alike. Own networks run on the
serving kernels; the others, and the own shapes once more, in ONNX Runtime, and the own shapes in LibTorch
(folded, channels-last, traced and frozen; its convolutions are oneDNN's). All weights are random: time does not depend on them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PEERS = Path(os.environ.get("ELA_DEPS", Path.home() / ".cache/ela-serve")) / "peers"
MODELS = PEERS / "onnx"
WARM_UP = 5  # pictures before the first round
TURN = 4  # pictures of one network in one round
OWN = "serving kernels"


def export_missing():
    """The networks as ONNX files, made once."""
    import torch
    from peer_networks import FastestDet, Lat, LatMs
    MODELS.mkdir(exist_ok=True)
    for name, make, size in (("lat", Lat, 320), ("lat-ms", LatMs, 320), ("fastestdet", FastestDet, 352)):
        if not (MODELS / f"{name}.onnx").exists():
            torch.onnx.export(make().eval(), torch.rand(1, 3, size, size), str(MODELS / f"{name}.onnx"),
                              dynamo=False, opset_version=17, input_names=["images"])
    for name in ("yolov8n", "yolo26n"):
        if not (MODELS / f"{name}.onnx").exists():
            os.environ["YOLO_OFFLINE"] = "1"
            from ultralytics import YOLO
            here = os.getcwd()
            os.chdir(MODELS)
            YOLO(f"{name}.yaml").export(format="onnx", imgsz=320, opset=17, simplify=False)
            os.chdir(here)


class OnnxRuntime:
    def __init__(self, name, size):
        import numpy as np
        import onnxruntime as ort
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(str(MODELS / f"{name}.onnx"), options, providers=["CPUExecutionProvider"])
        self.feed = {"images": np.random.rand(1, 3, size, size).astype(np.float32)}

    def run(self):
        start = time.perf_counter()
        self.session.run(None, self.feed)
        return 1e3 * (time.perf_counter() - start)


class LibTorch:
    def __init__(self, make):
        import torch
        torch.set_num_threads(1)
        self.torch = torch
        self.input = torch.rand(1, 3, 320, 320).to(memory_format=torch.channels_last)
        network = make().eval().to(memory_format=torch.channels_last)
        with torch.inference_mode():
            # Not optimize_for_inference: its oneDNN graph takes 1.4 (lat) to 1.8 (lat-ms) times as long.
            self.network = torch.jit.freeze(torch.jit.trace(network, self.input))

    def run(self):
        with self.torch.inference_mode():
            start = time.perf_counter()
            self.network(self.input)
            return 1e3 * (time.perf_counter() - start)


class Serving:
    def __init__(self, bench, variant, kernels=""):
        command = [str(bench), "--variant", variant, "--kernels", kernels, "--runs"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build/release", help="build folder with tests/bench/detector_bench")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--seconds", type=float, default=150, help="stop after this long, whatever the rounds")
    parser.add_argument("--json", help="also write the figures here")
    arguments = parser.parse_args()
    bench = HERE.parent.parent / arguments.build / "tests/bench/detector_bench"
    if not bench.exists():
        sys.exit(f"{bench} is missing: cmake --build {arguments.build} --target detector_bench")
    from peer_networks import Lat, LatMs
    export_missing()
    contestants = {
        ("lat-ms", 320, OWN): Serving(bench, "lat-ms"),
        ("lat-ms", 320, OWN + ", AVX2"): Serving(bench, "lat-ms", "portable"),
        ("lat-ms", 320, "ONNX Runtime"): OnnxRuntime("lat-ms", 320),
        ("lat-ms", 320, "LibTorch"): LibTorch(LatMs),
        ("lat", 320, OWN): Serving(bench, "lat"),
        ("lat", 320, "ONNX Runtime"): OnnxRuntime("lat", 320),
        ("lat", 320, "LibTorch"): LibTorch(Lat),
        ("FastestDet", 352, "ONNX Runtime"): OnnxRuntime("fastestdet", 352),
        ("YOLOv8n", 320, "ONNX Runtime"): OnnxRuntime("yolov8n", 320),
        ("YOLO26n", 320, "ONNX Runtime"): OnnxRuntime("yolo26n", 320),
    }
    for contestant in contestants.values():
        for _ in range(WARM_UP):
            contestant.run()
    rounds = []
    begin = time.monotonic()
    while len(rounds) < arguments.rounds and (len(rounds) < 7 or time.monotonic() - begin < arguments.seconds):
        rounds.append({key: [contestant.run() for _ in range(TURN)] for key, contestant in contestants.items()})
    figures = []
    base = ("lat-ms", 320, OWN)
    print(f"{len(rounds)} rounds of {TURN}, one thread, batch 1, network alone; load {os.getloadavg()[0]:.1f}\n")
    print(f"{'network':<12}{'pixels':>7}  {'runs on':<24}{'median ms':>10}{'best ms':>9}{'x own variant':>15}")
    for key in contestants:
        times = [value for turn in rounds for value in turn[key]]
        ratio = statistics.median(statistics.median(turn[key]) / statistics.median(turn[base]) for turn in rounds)
        figures.append(dict(network=key[0], pixels=key[1], runtime=key[2], median_ms=statistics.median(times),
                            best_ms=min(times), ratio_to_own=ratio))
        print(f"{key[0]:<12}{key[1]:>7}  {key[2]:<24}{figures[-1]['median_ms']:>10.2f}{min(times):>9.2f}{ratio:>15.2f}")
    own = {figure["network"]: figure["ratio_to_own"] for figure in figures if figure["runtime"] == "ONNX Runtime"}
    serving_lat = statistics.median(statistics.median(turn[("YOLO26n", 320, "ONNX Runtime")]) /
                                    statistics.median(turn[("lat", 320, OWN)]) for turn in rounds)
    print(f"\nYOLO26n takes {own['YOLO26n'] / own['lat']:.2f} times as long as lat in one runtime, {serving_lat:.2f} "
          "times as long as lat on the serving kernels.")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(dict(rounds=len(rounds), figures=figures), indent=1) + "\n")


if __name__ == "__main__":
    python = PEERS / "bin/python"
    if not python.exists():
        sys.exit(f"{PEERS} is missing: run {HERE / 'install_peers.sh'}")
    if Path(sys.prefix).resolve() != PEERS.resolve():
        os.execv(python, [str(python), *sys.argv])
    main()
