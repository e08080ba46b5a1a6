"""How servers and clients start, stop and die."""

import json
import shutil
import signal
import unittest

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from house import ENDLESS, FOLDER, MODEL, PATIENCE, Server, TestCase
from house import details, endless, generation, start_and_fail, wait_until


class Drain(TestCase):
    def test_sigterm_lets_a_running_stream_finish(self):
        with Server("--drain-seconds", str(PATIENCE)) as server:
            request = endless()
            request.stopping.max_new_tokens = 2000
            stream = server.narrow.Generate(request)  # the server cannot be far ahead of the reader
            received = len(next(stream).token_ids)
            server.process.send_signal(signal.SIGTERM)
            last = None
            for last in stream:
                received += len(last.token_ids)
            self.assertEqual(received, 2000)
            self.assertEqual(last.finish.reason, generation.Finish.REASON_LENGTH)
            self.assertEqual(server.process.wait(PATIENCE), 0, server.log())

    def test_sigterm_turns_health_and_refuses_new_calls(self):
        with Server(*ENDLESS, "--drain-seconds", str(PATIENCE)) as server:
            health = health_pb2_grpc.HealthStub(server.channel)
            watch = health.Watch(health_pb2.HealthCheckRequest())
            self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.SERVING)
            stream = server.generation.Generate(endless())
            next(stream)
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.NOT_SERVING)
            error = self.assert_refused(
                lambda: server.generation.Generate(endless()), grpc.StatusCode.UNAVAILABLE
            )
            self.assertIn("RetryInfo", details(error))
            stream.cancel()
            watch.cancel()
            self.assertEqual(server.process.wait(PATIENCE), 0, server.log())

    def test_the_grace_time_ends_what_is_left_with_a_hint(self):
        with Server(*ENDLESS, "--drain-seconds", "0.3") as server:
            stream = server.generation.Generate(endless())
            next(stream)
            server.process.send_signal(signal.SIGTERM)
            error = self.assert_refused(lambda: stream, grpc.StatusCode.UNAVAILABLE)
            self.assertIn("RetryInfo", details(error))
            self.assertEqual(server.process.wait(PATIENCE), 0, server.log())


class DeadClient(TestCase):
    def test_killing_a_client_in_mid_stream_frees_its_slot(self):
        with Server(*ENDLESS) as server:
            client = server.start_ela("generate", "On", "-n", "50000000", "--ignore-eos")
            client.stdout.read(1)
            wait_until(lambda: server.metric("ela_slots_used") == 1, "a slot is used")
            client.kill()
            client.communicate()
            wait_until(server.idle, "the slot is free")
            self.assertEqual(server.ela("generate", "Still here?", "-n", "2").returncode, 0)

    def test_an_interrupt_ends_the_command_with_130_and_frees_the_slot(self):
        with Server(*ENDLESS) as server:
            client = server.start_ela("generate", "On", "-n", "50000000", "--ignore-eos")
            client.stdout.read(1)
            client.send_signal(signal.SIGINT)
            client.communicate()
            self.assertEqual(client.returncode, 130)
            wait_until(server.idle, "the slot is free")
            self.assertEqual(server.metric("ela_requests_finished_total", reason="cancelled"), 1)

    def test_a_deadline_ends_a_stream_and_frees_its_slot(self):
        with Server(*ENDLESS) as server:
            error = self.assert_refused(
                lambda: server.generation.Generate(endless(), timeout=0.5),
                grpc.StatusCode.DEADLINE_EXCEEDED,
            )
            self.assertIsNotNone(error)
            wait_until(server.idle, "the slot is free")


class FailedStart(TestCase):
    def assert_says(self, result, *words):
        code, output = result
        self.assertNotEqual(code, 0, output)
        for word in words:
            self.assertIn(word, output)

    def test_a_port_in_use(self):
        with Server() as server:
            result = start_and_fail(
                "--model", MODEL, "--listen", server.address, "--metrics-listen", "127.0.0.1:0"
            )
            self.assert_says(result, server.address)
            self.assertEqual(server.ela("health").returncode, 0)

    def test_a_missing_model(self):
        self.assert_says(start_and_fail("--model", FOLDER / "nowhere"), "nowhere")

    def test_a_tokenizer_larger_than_the_vocabulary_is_seen_by_check_too(self):
        folder = FOLDER / "large-tokenizer"
        shutil.copytree(MODEL, folder)
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        tokenizer["model"]["vocab"]["one too many"] = 6400
        (folder / "tokenizer.json").chmod(0o644)
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
        self.assert_says(start_and_fail("--model", folder, "--check"), "6401", "6400")

    def test_an_unknown_config_key(self):
        path = FOLDER / "config.json"
        path.write_text(json.dumps({"max_quue": 7}))
        result = start_and_fail("--config", path, "--model", MODEL)
        self.assert_says(result, "max_quue", "max_queue", str(path))

    def test_an_unknown_flag(self):
        self.assert_says(start_and_fail("--model", MODEL, "--turbo"), "--turbo")


if __name__ == "__main__":
    unittest.main(verbosity=2)
