"""Our COCO evaluation against pycocotools, the program that defines the measure.

    coco_differential.py --write tests/golden/detection/coco_cases.json     the fixture of coco_evaluation_test
    coco_differential.py --figures build/release/tests/coco_figures --cases 5000 [--seed 1]

Needs pycocotools (deploy/install_deps.sh --test); the fixture is committed, so that the test itself does not.
"""

import argparse
import contextlib
import io
import json
import random
import subprocess
import sys

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def random_case(rng):
    """Few values, so that equal scores, equal overlaps and exact thresholds are common."""
    num_classes = rng.randint(1, 4)
    coarse = rng.random() < 0.5
    side = rng.choice([30, 100, 400])

    def box():
        if coarse:
            step = side // 10
            return [rng.randrange(10) * step, rng.randrange(10) * step,
                    rng.randint(0, 6) * step, rng.randint(0, 6) * step]
        return [rng.uniform(0, side), rng.uniform(0, side), rng.uniform(0, side), rng.uniform(0, side)]

    def score():
        return rng.choice([0.1, 0.5, 0.5, 0.9]) if coarse else rng.random()

    images = []
    crowds = rng.choice([0.0, 0.2])
    for _ in range(rng.randint(1, 8)):
        truths, detections = [], []
        for _ in range(rng.choice([0, 1, 2, 5, 12])):
            b = box()
            area = b[2] * b[3] * rng.choice([1, 1, 0.6])  # COCO's area is the mask's, less than the box's
            truths.append([rng.randrange(num_classes), *b, area, int(rng.random() < crowds)])
        for truth in truths:
            for _ in range(rng.choice([0, 1, 1, 2])):  # near a truth, now and then exactly on it
                jitter = rng.choice([0, 0.05, 0.15, 0.3])
                b = [v + (rng.uniform(-jitter, jitter) * side * 0.3) for v in truth[1:5]]
                b[2], b[3] = max(b[2], 0), max(b[3], 0)
                c = truth[0] if rng.random() < 0.9 else rng.randrange(num_classes)
                detections.append([c, *b, score()])
        for _ in range(rng.choice([0, 1, 4, 130]) if rng.random() < 0.15 else rng.choice([0, 1, 3])):
            detections.append([rng.randrange(num_classes), *box(), score()])
        rng.shuffle(detections)
        images.append(dict(truths=truths, detections=detections))
    return dict(num_classes=num_classes, images=images)


def reference(case):
    """The twelve figures of COCOeval.summarize. Ids start at 1: pycocotools takes id 0 for "not matched"."""
    truth = COCO()
    annotations, results = [], []
    for i, image in enumerate(case["images"], 1):
        for c, x, y, w, h, area, crowd in image["truths"]:
            annotations.append(dict(id=len(annotations) + 1, image_id=i, category_id=c + 1, bbox=[x, y, w, h],
                                    area=area, iscrowd=crowd))
        for c, x, y, w, h, score in image["detections"]:
            results.append(dict(image_id=i, category_id=c + 1, bbox=[x, y, w, h], score=score))
    truth.dataset = dict(images=[dict(id=i) for i in range(1, len(case["images"]) + 1)], annotations=annotations,
                         categories=[dict(id=c + 1, name=str(c)) for c in range(case["num_classes"])])
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        found = truth.loadRes(results) if results else COCO()
        if not results:
            found.dataset = dict(truth.dataset, annotations=[])
            found.createIndex()
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(value) for value in evaluation.stats]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--write")
    parser.add_argument("--figures")
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    if arguments.write:
        cases = []
        while len(cases) < 24:
            case = random_case(rng)
            text = json.dumps(case)
            if len(text) < 6000:
                cases.append(dict(case, stats=reference(case)))
        with open(arguments.write, "w", encoding="utf-8") as file:
            file.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
        return 0
    cases = [random_case(rng) for _ in range(arguments.cases)]
    ours = subprocess.run([arguments.figures], input="".join(json.dumps(case) + "\n" for case in cases),
                          capture_output=True, text=True, check=True).stdout.splitlines()
    worst = 0.0
    for number, (case, line) in enumerate(zip(cases, ours, strict=True)):
        for name, (a, b) in enumerate(zip(reference(case), map(float, line.split()), strict=True)):
            worst = max(worst, abs(a - b))
            if abs(a - b) > 1e-6:
                print(f"case {number} of seed {arguments.seed}, figure {name}: pycocotools {a}, ours {b}")
                print(json.dumps(case))
                return 1
    print(json.dumps(dict(cases=len(cases), seed=arguments.seed, largest_difference=worst)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
