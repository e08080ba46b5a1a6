"""Requests that ask too much, and servers that have no room: each gets an error of its own, others go on."""

import unittest

import grpc
from house import ENDLESS, Server, TestCase, details, endless, generation, models, wait_until


class Refused(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(
            "--max-new-tokens", "4096", "--max-prompt-tokens", "2000",
            "--max-message-bytes", "100000",
        )

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def assert_invalid(self, field, words=(), **fields):
        request = generation.GenerateRequest(**{"text": "x", **fields})
        error = self.assert_refused(
            lambda: self.server.generation.Generate(request), grpc.StatusCode.INVALID_ARGUMENT
        )
        found = {v.field: v.description for v in details(error)["BadRequest"].field_violations}
        self.assertIn(field, found)
        for word in words:
            self.assertIn(word, found[field] + error.details())

    def test_each_wrong_field_is_named_with_its_limit(self):
        sampling, stopping = generation.SamplingOptions, generation.StoppingOptions
        nan = float("nan")
        self.assert_invalid("sampling.temperature", sampling=sampling(temperature=nan))
        self.assert_invalid("sampling.temperature", ["10"], sampling=sampling(temperature=11))
        self.assert_invalid("sampling.temperature", sampling=sampling(temperature=-1))
        self.assert_invalid("sampling.top_p", sampling=sampling(top_p=1.5))
        self.assert_invalid("sampling.min_p", sampling=sampling(min_p=1))
        self.assert_invalid("sampling.top_k", ["6400"], sampling=sampling(top_k=6401))
        self.assert_invalid(
            "stopping.max_new_tokens", ["9000", "4096"], stopping=stopping(max_new_tokens=9000)
        )
        self.assert_invalid("stopping.stop", ["8"], stopping=stopping(stop=["x"] * 9))

    def test_all_wrong_fields_come_in_one_answer(self):
        request = generation.GenerateRequest(
            text="x",
            sampling=generation.SamplingOptions(temperature=-1, top_p=7),
            stopping=generation.StoppingOptions(max_new_tokens=9000),
        )
        error = self.assert_refused(
            lambda: self.server.generation.Generate(request), grpc.StatusCode.INVALID_ARGUMENT
        )
        self.assertEqual(len(details(error)["BadRequest"].field_violations), 3)

    def test_an_empty_prompt_and_a_token_out_of_range(self):
        for request in (
            generation.GenerateRequest(),
            generation.GenerateRequest(text=""),
            generation.GenerateRequest(token_ids=generation.TokenIds(ids=[])),
            generation.GenerateRequest(token_ids=generation.TokenIds(ids=[6400])),
        ):
            error = self.assert_refused(
                lambda: self.server.generation.Generate(request), grpc.StatusCode.INVALID_ARGUMENT
            )
            self.assertIn("BadRequest", details(error))

    def test_a_prompt_over_the_limit(self):
        request = generation.GenerateRequest(token_ids=generation.TokenIds(ids=[5] * 2001))
        error = self.assert_refused(
            lambda: self.server.generation.Generate(request), grpc.StatusCode.INVALID_ARGUMENT
        )
        self.assertIn("2001", error.details())
        self.assertIn("2000", error.details())

    def test_a_message_over_the_limit(self):
        request = generation.GenerateRequest(text="x" * 200_000)
        error = self.assert_refused(
            lambda: self.server.generation.Generate(request), grpc.StatusCode.RESOURCE_EXHAUSTED
        )
        self.assertIn("100000", error.details())

    def test_an_unknown_model(self):
        error = self.assert_refused(
            lambda: self.server.models.Describe(models.DescribeModelRequest(model="huge")),
            grpc.StatusCode.NOT_FOUND,
        )
        self.assertIn("huge", error.details())
        request = generation.GenerateRequest(model="huge", text="x")
        self.assert_refused(
            lambda: self.server.generation.Generate(request), grpc.StatusCode.NOT_FOUND
        )

    def test_the_command_says_what_is_wrong_and_exits_with_3(self):
        result = self.server.ela("generate", "x", "--top-p", "1.5", "-n", "9000")
        self.assertEqual(result.returncode, 3)
        for words in ("sampling.top_p", "1.5", "stopping.max_new_tokens", "9000", "4096"):
            self.assertIn(words, result.stderr)


class Overloaded(TestCase):
    def test_a_full_queue_says_when_to_come_back(self):
        with Server(*ENDLESS, "--max-queue", "1", slots=1) as server:
            running = server.generation.Generate(endless())
            next(running)
            waiting = server.generation.Generate(endless())
            wait_until(lambda: server.metric("ela_requests_waiting") == 1, "one request waits")
            error = self.assert_refused(
                lambda: server.generation.Generate(endless()), grpc.StatusCode.RESOURCE_EXHAUSTED
            )
            delay = details(error)["RetryInfo"].retry_delay
            self.assertGreater(delay.seconds + delay.nanos, 0)
            result = server.ela("generate", "Me too", "-n", "2")
            self.assertEqual(result.returncode, 4, result.stderr)
            self.assertIn("try again in", result.stderr)
            running.cancel()
            next(waiting)  # its turn has come
            waiting.cancel()
            wait_until(server.idle, "all slots are free")


class SlowReader(TestCase):
    def test_a_reader_that_stops_pauses_itself_alone(self):
        with Server(*ENDLESS, slots=2) as server:
            lazy = server.narrow.Generate(endless())
            next(lazy)
            wait_until(lambda: server.metric("ela_requests_paused") == 1, "the reader is waited for")
            for _ in range(3):
                result = server.ela("generate", "Others go on", "-n", "100", "--ignore-eos")
                self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(server.metric("ela_slots_used"), 1)
            for _ in range(100):  # it reads again, and gets more
                self.assertGreater(len(next(lazy).token_ids), 0)
            lazy.cancel()
            wait_until(server.idle, "its slot is free")

    def test_a_reader_that_never_comes_back_loses_its_slot(self):
        with Server(*ENDLESS, "--slow-reader-seconds", "1") as server:
            lazy = server.narrow.Generate(endless())
            next(lazy)
            wait_until(lambda: server.metric("ela_requests_paused") == 1, "the reader is waited for")
            wait_until(server.idle, "its slot is free")
            self.assert_refused(lambda: lazy, grpc.StatusCode.RESOURCE_EXHAUSTED)


if __name__ == "__main__":
    unittest.main(verbosity=2)
