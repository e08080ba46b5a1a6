"""The real server and the real command as processes, and Python stubs made from proto/ on the spot."""

import importlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

import grpc
import random_checkpoint
from google.rpc import error_details_pb2, status_pb2

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ["ELA_BIN"])  # build/<preset>/bin
PATIENCE = 60.0  # seconds; sanitizers are slow, a hang is still found


def wait_until(condition, what):
    """Asks until `condition()` is true. There is no event to wait for in another process."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"still not so after {PATIENCE:.0f} s: {what}")
        time.sleep(0.01)


def make_stubs(folder):
    """Compiles proto/ with grpcio-tools, as any Python client would."""
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{SOURCE / 'proto'}"]
    command += [f"--python_out={folder}", f"--grpc_python_out={folder}"]
    command += [f"ela/v1/{name}.proto" for name in ("detection", "generation", "model")]
    subprocess.run(command, check=True, cwd=SOURCE / "proto")
    sys.path.insert(0, str(folder))
    names = [f"{name}_{kind}" for name in ("detection", "generation", "model") for kind in ("pb2", "pb2_grpc")]
    return [importlib.import_module(f"ela.v1.{name}") for name in names]


_folder = tempfile.TemporaryDirectory(prefix="ela-e2e-")
FOLDER = pathlib.Path(_folder.name)
(FOLDER / "stubs").mkdir()
detection, detection_grpc, generation, generation_grpc, models, models_grpc = make_stubs(FOLDER / "stubs")
MODEL = random_checkpoint.write(FOLDER / "tiny")
DETECTOR = SOURCE / "tests" / "golden" / "yolo" / "lat-3"  # random weights, three classes


class Server:
    """One ela-server on free ports. Use with `with`: it is killed at the end if it still runs."""

    count = 0

    def __init__(self, *flags, slots=8, model=MODEL, detector=None):
        Server.count += 1
        self.ready_file = FOLDER / f"ready-{Server.count}"
        self.log_path = FOLDER / f"server-{Server.count}.log"
        command = [BIN / "ela-server", "--model", model, "--listen", "127.0.0.1:0"]
        command += ["--metrics-listen", "127.0.0.1:0", "--ready-file", self.ready_file]
        command += ["--slots", str(slots), *flags]
        command += [] if detector is None else ["--model", detector]
        self._log = open(self.log_path, "wb")
        self.process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT)
        try:
            wait_until(self._ready_or_gone, "the server is ready")
            found = re.search(r"ready listen=(\S+) metrics=(\S+)", self.log())
            if found is None:
                raise AssertionError("the server did not start:\n" + self.log())
        except BaseException:
            self.process.kill()
            self.process.wait()
            self._log.close()
            raise
        self.address, self.metrics_address = found.groups()
        self.channel = grpc.insecure_channel(
            self.address, options=[("grpc.max_send_message_length", -1)]
        )
        self.generation = generation_grpc.GenerationStub(self.channel)
        # A client that takes 4 KB ahead of what it reads: a pause shows after hundreds of tokens.
        self.narrow_channel = grpc.insecure_channel(
            self.address, options=[("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 4096)]
        )
        self.narrow = generation_grpc.GenerationStub(self.narrow_channel)
        self.models = models_grpc.ModelsStub(self.channel)
        self.detection = detection_grpc.DetectionStub(self.channel)

    def _ready_or_gone(self):
        return self.ready_file.exists() or self.process.poll() is not None

    def log(self):
        return self.log_path.read_text()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()
        self.narrow_channel.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._log.close()

    def metric(self, name, **labels):
        """Sum of the samples of `name` whose labels include `labels`."""
        page = urllib.request.urlopen(f"http://{self.metrics_address}/metrics", timeout=PATIENCE)
        total = 0.0
        for line in page.read().decode().splitlines():
            match = re.fullmatch(r"([a-zA-Z_:]+)(?:\{(.*)\})? (\S+)", line)
            if match is None or match.group(1) != name:
                continue
            found = dict(re.findall(r'(\w+)="([^"]*)"', match.group(2) or ""))
            if all(found.get(key) == value for key, value in labels.items()):
                total += float(match.group(3))
        return total

    def idle(self):
        return self.metric("ela_slots_used") == 0 and self.metric("ela_requests_waiting") == 0

    def ela(self, *arguments, input=None):
        """Runs the command against this server."""
        return subprocess.run(
            [BIN / "ela", *arguments, "--server", self.address],
            input=input, capture_output=True, text=True, timeout=PATIENCE * 2,
        )

    def start_ela(self, *arguments):
        return subprocess.Popen(
            [BIN / "ela", *arguments, "--server", self.address],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )


def start_and_fail(*arguments):
    """A server that must not start: its exit code and everything it said."""
    result = subprocess.run(
        [BIN / "ela-server", *arguments], capture_output=True, text=True, timeout=PATIENCE
    )
    return result.returncode, result.stdout + result.stderr


def endless(prompt="On and on", **output):
    """A request that goes on for longer than any test."""
    return generation.GenerateRequest(
        text=prompt,
        sampling=generation.SamplingOptions(seed=1),
        stopping=generation.StoppingOptions(max_new_tokens=50_000_000, ignore_eos=True),
        output=generation.OutputOptions(**output),
    )


ENDLESS = ("--max-new-tokens", "50000000")  # the server's limit for it


def details(error):
    """The google.rpc details of a gRPC error, by message name."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = status_pb2.Status.FromString(value)
            found = {}
            for any_message in status.details:
                name = any_message.TypeName().rsplit(".", 1)[1]
                message = getattr(error_details_pb2, name)()
                any_message.Unpack(message)
                found[name] = message
            return found
    return {}


class TestCase(unittest.TestCase):
    maxDiff = None

    def assert_refused(self, call, code):
        """`call` must end with `code`; returns the error."""
        with self.assertRaises(grpc.RpcError) as caught:
            result = call()
            for _ in result if hasattr(result, "__iter__") else ():
                pass
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        return caught.exception


def lines(text):
    return [json.loads(line) for line in text.splitlines() if line.strip()]
