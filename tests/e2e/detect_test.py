"""`ela detect` against the real server. The detector has random weights: what it finds means nothing, but it finds the
same again, and every part between a file and a box has to work for that."""

import json
import shutil
import struct
import subprocess
import unittest
import zlib

import grpc
from house import BIN, DETECTOR, FOLDER, PATIENCE, SOURCE, Server, TestCase, details, detection, lines

SAMPLES = SOURCE / "deploy" / "samples"
PHOTOS = sorted(SAMPLES.glob("*.jpg"))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, rows=None, depth=8, color=0):
    """A PNG whose header claims width x height; grey rows of zeros unless others are given."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    data = zlib.compress(bytes(height * (width + 1)) if rows is None else rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def png_size(path):
    return struct.unpack(">II", path.read_bytes()[16:24])


def turned(jpeg, orientation):
    """The same JPEG with an EXIF orientation."""
    exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0" + bytes([orientation]) + bytes(6)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


class Detect(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(model=DETECTOR)
        cls.folder = FOLDER / "detect"
        cls.folder.mkdir()

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def detect(self, *arguments, code=0, **options):
        result = self.server.ela("detect", *map(str, arguments), **options)
        self.assertEqual(result.returncode, code, result.stderr)
        return result

    def objects(self, *arguments):
        return [line["objects"] for line in lines(self.detect(*arguments, "--json", "--threshold", "0").stdout)]

    def test_a_folder_of_photos_is_a_table_and_the_same_in_json(self):
        rows = self.detect(SAMPLES, "--threshold", "0", "--max", "4").stdout.splitlines()
        self.assertEqual(rows[0].split(), ["IMAGE", "CLASS", "SCORE", "X0", "Y0", "X1", "Y1"])
        self.assertEqual(len(rows), 1 + 4 * len(PHOTOS))
        answers = lines(self.detect(SAMPLES, "--threshold", "0", "--max", "4", "--json").stdout)
        self.assertEqual([answer["image"] for answer in answers], [str(photo) for photo in PHOTOS])
        of_json = [
            [answer["image"], found["class"], f"{found['score']:.2f}", *(f"{side:.1f}" for side in found["box"])]
            for answer in answers for found in answer["objects"]
        ]
        self.assertEqual([row.split() for row in rows[1:]], of_json)
        for answer in answers:
            self.assertTrue(answer["truncated"])
            self.assertEqual((answer["width"], answer["height"]), (640, 480))
            scores = [found["score"] for found in answer["objects"]]
            self.assertEqual(scores, sorted(scores, reverse=True))
            for x0, y0, x1, y1 in (found["box"] for found in answer["objects"]):
                self.assertTrue(0 <= x0 < x1 <= 640 and 0 <= y0 < y1 <= 480)

    def test_a_picture_gets_the_same_alone_and_among_others(self):
        alone = [self.objects(photo)[0] for photo in PHOTOS]
        self.assertEqual(self.objects(*PHOTOS * 8, "-c", "24"), alone * 8)

    def test_what_python_gets_is_what_the_command_shows(self):
        options = detection.DetectOptions(score_threshold=0)
        image = detection.DetectImage(encoded=PHOTOS[0].read_bytes())
        answer = self.server.detection.Detect(detection.DetectRequest(images=[image], options=options))
        mine = self.objects(PHOTOS[0])[0]
        self.assertEqual(len(answer.results[0].objects), len(mine))
        for theirs, ours in zip(answer.results[0].objects, mine):
            self.assertEqual(theirs.class_name, ours["class"])
            self.assertAlmostEqual(theirs.score, ours["score"], places=6)
            self.assertAlmostEqual(theirs.box.x1, ours["box"][2], places=3)

    def test_standard_input_classes_and_another_input_size(self):
        names = json.loads(self.server.ela("models", "lat-3", "--json").stdout)["class_names"]
        everything = self.objects(PHOTOS[0])[0]
        apart = [self.objects(PHOTOS[0], "--classes", name)[0] for name in names]
        for name, found in zip(names, apart):
            self.assertLessEqual({one["class"] for one in found}, {name})
        self.assertGreaterEqual(sum(len(found) for found in apart), len(everything))
        self.assertNotEqual(self.objects(PHOTOS[0], "--input-size", "416x320")[0], everything)
        with open(PHOTOS[0], "rb") as file:
            command = [BIN / "ela", "detect", "-", "--json", "--threshold", "0", "--server", self.server.address]
            piped = subprocess.run(command, stdin=file, capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(lines(piped.stdout)[0]["objects"], everything)

    def test_drawings_have_the_pictures_size_as_a_person_sees_it(self):
        self.detect(SAMPLES, "--threshold", "0", "--max", "9", "--draw", self.folder / "boxes")
        for photo in PHOTOS:
            drawn = (self.folder / "boxes" / photo.name).read_bytes()
            self.assertEqual(drawn[:2], b"\xff\xd8")
            self.assertNotEqual(drawn, photo.read_bytes())
        on_its_side = self.folder / "side.jpg"
        on_its_side.write_bytes(turned(PHOTOS[0].read_bytes(), 8))
        answer = lines(self.detect(on_its_side, "--json", "--draw", self.folder / "side.png").stdout)[0]
        self.assertEqual((answer["width"], answer["height"], answer["orientation"]), (480, 640, 8))
        self.assertEqual(png_size(self.folder / "side.png"), (480, 640))

    def test_a_format_is_told_by_content_not_by_name(self):
        wrong = self.folder / "really-a-jpeg.png"
        shutil.copy(PHOTOS[0], wrong)
        self.assertEqual(self.objects(wrong), self.objects(PHOTOS[0]))


class BadPictures(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--max-images", "8", model=DETECTOR)
        cls.folder = FOLDER / "bad"
        cls.folder.mkdir()
        jpeg = PHOTOS[0].read_bytes()
        cls.bad = {
            "empty.jpg": (b"", "IMAGE_EMPTY"),
            "half.jpg": (jpeg[: len(jpeg) // 2], "IMAGE_TRUNCATED"),
            "half.png": (png(64, 64, bytes(range(256)) * 20)[:90], "IMAGE_TRUNCATED"),
            "text.jpg": (b"This is no picture.\n" * 9, "IMAGE_UNKNOWN_FORMAT"),
            "gif.png": (b"GIF89a" + bytes(100), "IMAGE_UNSUPPORTED"),
            "claims.png": (png(60000, 60000, b"\0"), "IMAGE_TOO_LARGE"),
            "bomb.png": (png(9000, 9000), "IMAGE_TOO_LARGE"),  # 81 megapixels in 80 KB
        }
        for name, (data, _) in cls.bad.items():
            (cls.folder / name).write_bytes(data)

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def test_each_is_named_with_its_reason_and_the_good_ones_are_answered(self):
        names = sorted(self.bad)
        arguments = [str(self.folder / name) for name in names]
        for as_draw in ([], ["--draw", str(self.folder / "out") + "/"]):
            result = self.server.ela(
                "detect", arguments[0], str(PHOTOS[0]), *arguments[1:], str(PHOTOS[1]), "--json", *as_draw
            )
            self.assertEqual(result.returncode, 3)
            answers = lines(result.stdout)
            self.assertEqual(len(answers), len(names) + 2)
            self.assertIn("objects", answers[1])
            self.assertIn("objects", answers[-1])
            failed = {answer["image"]: answer["error"] for answer in answers if "error" in answer}
            for name in names:
                error = failed[str(self.folder / name)]
                self.assertEqual(error["reason"], self.bad[name][1], name)
                self.assertIn(f"ela: {self.folder / name}: ", result.stderr)
                self.assertLess(len(error["message"]), 300)
        messages = {name: failed[str(self.folder / name)]["message"] for name in names}
        self.assertEqual(len(set(messages.values())), len(messages), messages)

    def test_memory_stays_bounded(self):
        before = self.server.metric("process_resident_memory_bytes")
        arguments = [str(self.folder / "bomb.png"), str(self.folder / "claims.png")] * 20
        self.assertEqual(self.server.ela("detect", *arguments).returncode, 3)
        self.assertLess(self.server.metric("process_resident_memory_bytes") - before, 64e6)

    def test_a_wrong_request_is_told_once(self):
        for flags, words in (
            (["--threshold", "nan"], "score_threshold"), (["--threshold", "1.5"], "score_threshold"),
            (["--threshold=-1"], "score_threshold"), (["--iou", "2"], "iou_threshold"),
            (["--max", "0"], "max_detections"), (["--max", "100000"], "max_detections"),
            (["--classes", "unicorn"], "unicorn"), (["--input-size", "333"], "input_width"),
            (["--input-size", "99968"], "input_width"), (["--model", "nobody"], "nobody"),
        ):
            with self.subTest(flags=flags):
                result = self.server.ela("detect", str(SAMPLES), *flags)
                self.assertEqual(result.returncode, 3, result.stderr)
                self.assertEqual(result.stdout, "")
                self.assertIn(words, result.stderr)
                self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)

    def test_too_many_images_and_raw_pixels_that_do_not_fit(self):
        photo = detection.DetectImage(encoded=PHOTOS[0].read_bytes())
        error = self.assert_refused(
            lambda: self.server.detection.Detect(detection.DetectRequest(images=[photo] * 9)),
            grpc.StatusCode.INVALID_ARGUMENT,
        )
        self.assertEqual(details(error)["BadRequest"].field_violations[0].field, "images")
        raw = [
            dict(format=1, width=10, height=10, pixels=bytes(299)),
            dict(format=1, width=10, height=10, stride=29, pixels=bytes(300)),
            dict(format=3, width=10, height=10, pixels=bytes(500)),
        ]
        images = [detection.DetectImage(raw=detection.RawPicture(**one)) for one in raw]
        answer = self.server.detection.Detect(detection.DetectRequest(images=images))
        for result in answer.results:
            self.assertEqual(result.error.code, grpc.StatusCode.INVALID_ARGUMENT.value[0])


if __name__ == "__main__":
    unittest.main(verbosity=2)
