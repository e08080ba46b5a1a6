"""What a server is for: generating, scoring, naming its models, tokenizing. The command and a Python client
look at the same server."""

import json
import math
import unittest

from house import FOLDER, Server, TestCase, generation, lines, models


class Speak(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def test_generate_streams_text_and_the_same_seed_repeats_it(self):
        arguments = ("generate", "The sea was", "-n", "40", "--seed", "7", "--ignore-eos")
        first, second = self.server.ela(*arguments), self.server.ela(*arguments)
        self.assertEqual(first.returncode, 0, first.stderr)
        self.assertEqual(first.stdout, second.stdout)
        other = self.server.ela(*arguments[:-2], "8", "--ignore-eos")
        self.assertNotEqual(first.stdout, other.stdout)

    def test_generate_json_counts_what_it_sends(self):
        result = self.server.ela("generate", "Count", "-n", "25", "--json", "--ignore-eos")
        self.assertEqual(result.returncode, 0, result.stderr)
        messages = lines(result.stdout)
        finish = messages.pop()["finish"]
        self.assertEqual(sum(len(message["token_ids"]) for message in messages), 25)
        self.assertEqual(finish["reason"], "length")
        self.assertEqual(finish["usage"]["generated_tokens"], 25)
        text = self.server.ela(
            "generate", "Count", "-n", "25", "--ignore-eos", "--seed", str(finish["seed"])
        ).stdout
        self.assertEqual("".join(message["text"] for message in messages) + "\n", text)

    def test_a_score_of_generated_tokens_is_what_generating_said_to_the_bit(self):
        prompt = self.server.generation.Tokenize(
            generation.TokenizeRequest(text="Exactly the same numbers, please.")
        )
        request = generation.GenerateRequest(
            token_ids=generation.TokenIds(ids=prompt.ids),
            stopping=generation.StoppingOptions(max_new_tokens=50, ignore_eos=True),
            output=generation.OutputOptions(logprobs=True),
        )
        ids, logprobs = list(prompt.ids), []
        for message in self.server.generation.Generate(request):
            ids += message.token_ids
            logprobs += message.logprobs
        scores = []
        score = generation.ScoreRequest(token_ids=generation.TokenIds(ids=ids))
        for message in self.server.generation.Score(score):
            scores += message.scores.logprobs
        self.assertEqual(len(scores), len(ids) - 1)
        self.assertEqual(scores[-50:], logprobs)

    def test_score_command_sums_what_the_stream_says(self):
        texts = ["A short one.", "Ein zweiter, mit Umlauten: äöü.", "三つ目。", "x" * 500]
        path = FOLDER / "documents.jsonl"
        path.write_text("".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in enumerate(texts)))
        result = self.server.ela("score", "--file", str(path))
        self.assertEqual(result.returncode, 0, result.stderr)
        totals = json.loads(result.stdout)
        logprob = 0.0
        for text in texts:
            request = generation.ScoreRequest(text=text, start_with_eos=True)
            for message in self.server.generation.Score(request):
                logprob += sum(message.scores.logprobs)
        num_bytes = sum(len(text.encode()) for text in texts)
        self.assertEqual(totals["documents"], len(texts))
        self.assertEqual(totals["bytes"], num_bytes)
        self.assertAlmostEqual(totals["total_logprob"], logprob, delta=1e-6 * abs(logprob))
        self.assertAlmostEqual(totals["bits_per_byte"], -logprob / math.log(2) / num_bytes, places=5)

    def test_models_are_listed_and_described(self):
        table = self.server.ela("models")
        self.assertEqual(table.returncode, 0, table.stderr)
        self.assertIn("tiny", table.stdout)
        described = json.loads(self.server.ela("models", "tiny", "--json").stdout)
        self.assertEqual(described["architecture"]["vocab_size"], 6400)
        self.assertEqual(described["num_slots"], 8)
        self.assertEqual(len(described["fingerprint"]), 64)
        listed = self.server.models.List(models.ListModelsRequest())
        self.assertEqual([model.name for model in listed.models], ["tiny"])
        missing = self.server.ela("models", "huge")
        self.assertEqual(missing.returncode, 3)
        self.assertIn("huge", missing.stderr)

    def test_text_survives_tokens(self):
        text = "Ünïcödé, 日本語, \U0001f30a, tabs\tand  spaces\n"
        ids = self.server.ela("tokenize", "--ids", input=text).stdout
        self.assertEqual(self.server.ela("detokenize", input=ids).stdout, text + "\n")

    def test_absorbing_only_generates_nothing(self):
        result = self.server.ela("generate", "Listen.", "-n", "0", "--json")
        finish = lines(result.stdout)[-1]["finish"]
        self.assertEqual(finish["usage"]["generated_tokens"], 0)
        self.assertEqual(finish["reason"], "length")

    def test_the_log_never_holds_a_prompt(self):
        self.server.ela("generate", "a-secret-nobody-may-read", "-n", "4")
        self.assertNotIn("a-secret-nobody-may-read", self.server.log())


if __name__ == "__main__":
    unittest.main(verbosity=2)
