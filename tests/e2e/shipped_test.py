"""The models that ship: each is loaded quickly, fits in the memory that is promised, and has learned something."""

import json
import os
import time
import unittest

from house import FOLDER, SOURCE, Server, TestCase, lines

SHIPPED = sorted(path.parent for path in (SOURCE / "deploy" / "models").glob("*/config.json"))
TYPE = {model: json.loads((model / "config.json").read_text())["model_type"] for model in SHIPPED}
MODELS = [model for model in SHIPPED if TYPE[model] == "ela_gpt"]
DETECTORS = [model for model in SHIPPED if TYPE[model] == "yolo_lat"]
SANITIZED = bool(os.environ.get("ELA_SANITIZE"))
SAMPLES = SOURCE / "deploy" / "samples"
WHITE_CELLS = {  # the data set's labels: x0, y0, x1, y1
    "BloodImage_00057.jpg": (165, 71, 317, 215),
    "BloodImage_00068.jpg": (1, 224, 94, 351),
    "BloodImage_00132.jpg": (46, 212, 193, 370),
}


def overlap(a, b):
    """Intersection over union of two boxes."""
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


class Shipped(TestCase):
    def test_there_is_a_model(self):
        self.assertTrue(MODELS)
        self.assertTrue(DETECTORS)

    def test_ready_within_three_seconds_and_250_mb_beside_weights_and_pool(self):
        for model in MODELS:
            with self.subTest(model=model.name):
                start = time.monotonic()
                with Server(model=model, slots=64) as server:
                    if SANITIZED:
                        continue  # neither time nor memory is the product's
                    self.assertLess(time.monotonic() - start, 3.0)
                    self.assertEqual(server.ela("generate", "Abstract", "-n", "64").returncode, 0)
                    accounted = server.metric("ela_weight_bytes") + server.metric("ela_state_pool_bytes")
                    resident = server.metric("process_resident_memory_bytes")
                    self.assertLess(resident - accounted, 250e6)

    def test_a_text_it_never_saw_costs_far_less_than_chance(self):
        document = {"id": "quickstart", "text": (SOURCE / "deploy" / "quickstart.txt").read_text()}
        path = FOLDER / "quickstart.jsonl"
        path.write_text(json.dumps(document) + "\n")
        for model in MODELS:
            with self.subTest(model=model.name), Server(model=model) as server:
                result = server.ela("score", "--file", str(path))
                self.assertEqual(result.returncode, 0, result.stderr)
                # Uniform guesses over 6,400 tokens of 2.5 bytes cost 5.1 bits per byte.
                self.assertLess(json.loads(result.stdout)["bits_per_byte"], 4.0)

    def test_each_has_a_card_with_licence_data_and_figures(self):
        for model in SHIPPED:
            with self.subTest(model=model.name):
                card = "".join(path.read_text() for path in model.glob("*.md")).lower()
                for word in ("licen", "data", "bits per byte" if model in MODELS else "map50-95"):
                    self.assertIn(word, card)

    def test_a_detector_beside_a_model_is_as_quick_and_as_small(self):
        start = time.monotonic()
        with Server(model=MODELS[0], slots=64, detector=DETECTORS[0]) as server:
            if SANITIZED:
                return
            self.assertLess(time.monotonic() - start, 3.0)
            self.assertEqual(server.ela("detect", str(SAMPLES)).returncode, 0)
            accounted = server.metric("ela_weight_bytes") + server.metric("ela_state_pool_bytes")
            self.assertLess(server.metric("process_resident_memory_bytes") - accounted, 250e6)

    def test_the_detector_finds_what_people_marked_in_the_samples(self):
        detector = SOURCE / "deploy" / "models" / "ela-det"
        with Server(model=detector) as server:
            answers = lines(server.ela("detect", str(SAMPLES), "--json").stdout)
        self.assertEqual(len(answers), len(WHITE_CELLS))
        for answer in answers:
            name = answer["image"].rsplit("/", 1)[1]
            cells = [found["box"] for found in answer["objects"] if found["class"] == "WBC"]
            with self.subTest(picture=name):
                self.assertEqual(len(cells), 1)
                self.assertGreater(overlap(cells[0], WHITE_CELLS[name]), 0.6)
                red = [found for found in answer["objects"] if found["class"] == "RBC"]
                self.assertGreaterEqual(len(red), 5)


if __name__ == "__main__":
    unittest.main(verbosity=2)
