"""What README.md tells a newcomer to type works as it stands there."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import unittest

from house import BIN, DETECTOR, FOLDER, PATIENCE, SOURCE, Server, TestCase

README = (SOURCE / "README.md").read_text()


def block_after(heading, language=""):
    """The first fenced block of `language` behind `heading`."""
    behind = README.split(heading, 1)[1]
    return re.search(rf"^```{language}\n(.*?)^```", behind, re.S | re.M).group(1)


class Readme(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--model-name", "ela-7m", detector=DETECTOR)
        cls.folder = FOLDER / "newcomer"
        cls.folder.mkdir()
        (cls.folder / "photos").mkdir()
        for photo in (SOURCE / "deploy" / "samples").glob("*.jpg"):
            shutil.copy(photo, cls.folder / "photo.jpg")
            shutil.copy(photo, cls.folder / "photos")
        (cls.folder / "story.txt").write_text("Once upon a time")
        (cls.folder / "documents.jsonl").write_text(json.dumps({"id": "a", "text": "A text."}) + "\n")

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def run_here(self, command, **environment):
        return subprocess.run(
            command, cwd=self.folder, env={**os.environ, **environment}, timeout=PATIENCE,
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )

    def test_every_command_line(self):
        commands = [
            shlex.split(line, comments=True)
            for line in block_after("### Command line").splitlines()
            if line.startswith("ela ")
        ]
        self.assertGreater(len(commands), 5)
        for command in commands:
            with self.subTest(command=" ".join(command)):
                result = self.run_here(
                    [BIN / "ela", *command[1:]], ELA_SERVER=self.server.address
                )
                self.assertEqual(result.returncode, 0, result.stderr)
                self.assertNotEqual(result.stdout.strip(), "")

    def test_the_python_program(self):
        program = block_after("### Python", "python")
        self.assertIn("127.0.0.1:50051", program)
        program = program.replace("127.0.0.1:50051", self.server.address)
        result = self.run_here(
            [sys.executable, "-c", program], PYTHONPATH=str(FOLDER / "stubs")
        )
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertNotEqual(result.stdout, "")

    def test_every_link_leads_somewhere(self):
        for target in re.findall(r"\]\(([^)#]+)\)", README):
            if not target.startswith("http"):
                self.assertTrue((SOURCE / target).exists(), target)


if __name__ == "__main__":
    unittest.main(verbosity=2)
