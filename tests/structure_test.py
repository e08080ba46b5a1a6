"""Reads every #include and every CMake link of the tree against the picture of who may know whom.

The picture is docs/architecture.md's; it is printed when something does not fit it. What the rules refuse is shown
first on bad examples, so that a test which lets everything pass would not pass itself.
"""

import os
import re
import subprocess
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

PICTURE = """
 proto <-- client                          client: proto + gRPC only (client/command: model/image too, to draw)
   ^
 server --> scheduler --> model/worker.h, model/detector.h     plain C++ interfaces: no Torch, no CUDA
   |                          ^ implements
   +----- (main.cc only) --> model/*        Torch, CUDA, kernels, files
 tests --> everything
"""

# Room (the longest matching folder wins) -> what its files may include and link.
#   ours: regular expressions over "folder/header.h" for includes, over "folder:target" for links.
#   theirs: families of libraries, see family_of_include and family_of_link; "std" goes without saying.
ROOMS = {
    "proto": dict(ours=[], theirs={"proto", "grpc"}),
    "client": dict(ours=[r"client/.*", r"client.*:.*", r"proto:ela_proto"],
                   theirs={"proto", "grpc", "absl", "cli11", "json"}),
    "model": dict(ours=[r"model/.*", r"model.*:.*"],
                  theirs={"absl", "json", "pcre2", "openssl", "cli11", "image", "xml", "draw", "cuda"}),
    "scheduler": dict(ours=[r"scheduler/.*", r"model/(worker|detector|types|status_macros)\.h",
                            r"model:ela_model_interface"],
                      theirs={"absl"}),
    "server": dict(ours=[r"server/.*", r"scheduler/.*", r"model/([^/]*|image/\w+)\.h", r"server:.*", r"scheduler:.*",
                         r"model:.*", r"model/image:.*", r"proto:.*"],
                   theirs={"absl", "proto", "grpc", "prometheus", "spdlog", "cli11", "json", "openssl", "store"}),
    "tests": dict(ours=[r".*"], theirs=None),  # everything
    "deploy": dict(ours=[], theirs=set()),
}
# Torch has three rooms of its own; the concrete worker and detector are named in one file and one target.
for torch_room in ("model/reference", "model/train", "model/vision"):
    ROOMS[torch_room] = dict(ours=ROOMS["model"]["ours"], theirs=ROOMS["model"]["theirs"] | {"torch"})
# The command draws boxes on pictures: it decodes them with the code that the server decodes them with.
ROOMS["client/command"] = dict(ours=ROOMS["client"]["ours"] + [r"model/image/\w+\.h", r"model/image:ela_image"],
                               theirs=ROOMS["client"]["theirs"] | {"image", "draw"})
ROOMS["server/main.cc"] = dict(ours=ROOMS["server"]["ours"] + [r"model/language/\w+_factory\.h",
                                                               r"model/vision/(cpu_detector|detector_config)\.h"],
                               theirs=ROOMS["server"]["theirs"])
ROOMS["server:ela-server"] = dict(ours=ROOMS["server"]["ours"] + [r"model/(language|vision):.*"],
                                  theirs=ROOMS["server"]["theirs"])

FAMILIES = [  # (regular expression over an include, family)
    (r".*\.pb\.h", "proto"), (r"google/protobuf/.*", "proto"), (r"grpc(pp)?/.*", "grpc"), (r"absl/.*", "absl"),
    (r"prometheus/.*", "prometheus"), (r"spdlog/.*", "spdlog"), (r"CLI/.*", "cli11"), (r"nlohmann/.*", "json"),
    (r"(torch|ATen|c10|caffe2)/.*", "torch"), (r"(cuda|cublas|nv).*\.h|cub/.*|cutlass/.*|cute/.*", "cuda"),
    (r"openssl/.*", "openssl"), (r"pcre2\.h", "pcre2"), (r"(rocksdb|hiredis)/.*", "store"),
    (r"(turbojpeg|spng)\.h", "image"), (r"pugixml\.hpp", "xml"), (r"cairo/.*", "draw"),
    (r"(gtest|gmock|benchmark)/.*", "test"),
    (r"(sys|linux|netinet|arpa|net)/.*|[a-z0-9_]+(\.h)?|cxxabi\.h", "std"),
]
LINKS = [  # (regular expression over a link, family)
    (r"absl::.*", "absl"), (r"gRPC::.*", "grpc"), (r"protobuf::.*", "proto"), (r"prometheus-cpp::.*", "prometheus"),
    (r"spdlog::.*", "spdlog"), (r"CLI11::.*", "cli11"), (r"nlohmann_json::.*", "json"), (r"PkgConfig::PCRE2", "pcre2"),
    (r"torch.*", "torch"), (r"CUDA::.*", "cuda"), (r"OpenSSL::.*", "openssl"), (r"PkgConfig::\w*(JPEG|SPNG)\w*", "image"),
    (r"PkgConfig::PUGIXML", "xml"), (r"PkgConfig::CAIRO", "draw"),
    (r"RocksDB::.*|PkgConfig::(ROCKSDB|HIREDIS)|hiredis.*", "store"), (r"GTest::.*|benchmark::.*", "test"),
    (r"Threads::.*|\$\{CMAKE_DL_LIBS\}|-.*", "std"),
]
KEYWORDS = {"PUBLIC", "PRIVATE", "INTERFACE", "LIBS"}


def first_match(table, name):
    return next((family for pattern, family in table if re.fullmatch(pattern, name)), None)


def room_of(path, target=None):
    """The rules for a file, or for a target of a folder's CMakeLists.txt."""
    folder = os.path.dirname(path) if target else path
    keys = [f"{folder}:{target}"] if target else []
    while folder:
        keys.append(folder)
        folder = os.path.dirname(folder)
    return next((ROOMS[key] for key in keys if key in ROOMS), None)


def complaint(what, rules, ours, name, family):
    """None, or one sentence. `ours`: the name to match if it is one of our own, else None."""
    if rules is None:
        return f"{what}: this folder is not in the picture"
    if ours is not None:
        if any(re.fullmatch(pattern, ours) for pattern in rules["ours"]):
            return None
        return f"{what} {name}: not this room's to know"
    if rules["theirs"] is None or family == "std" or family in rules["theirs"]:
        return None
    if family is None:
        return f"{what} {name}: unknown to the picture; add it to FAMILIES or LINKS of tests/structure_test.py"
    return f"{what} {name}: {family} does not belong in this room"


def check_include(path, header, quoted, tracked):
    is_ours = header in tracked
    family = None if is_ours else first_match(FAMILIES, header)
    if quoted and not is_ours and family == "std":
        return f"{path} includes \"{header}\": our includes run from the root"
    return complaint(f"{path} includes", room_of(path), header if is_ours else None, header, family)


def check_link(path, target, link, folder_of_target):
    folder = folder_of_target.get(link)
    family = None if folder is not None else first_match(LINKS, link)
    ours = None if folder is None else f"{folder}:{link}"
    return complaint(f"{path}: {target} links", room_of(path, target), ours, link, family)


def includes_of(text):
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    for mark, header in re.findall(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', text, flags=re.M):
        yield header, mark == '"'


def commands_of(text, names):
    text = re.sub(r"#.*", "", text)
    for _, body in re.findall(rf"^[ \t]*({names})[ \t]*\(([^)]*)\)", text, flags=re.M):
        words = body.split()
        if words and not words[0].startswith("$"):
            yield words


def links_of(text):
    """(target, link) of target_link_libraries and of ela_test's LIBS."""
    for words in commands_of(text, "target_link_libraries"):
        yield from ((words[0], word) for word in words[1:] if word not in KEYWORDS)
    for words in commands_of(text, "ela_test"):
        if "LIBS" in words:
            yield from ((words[0], word) for word in words[words.index("LIBS") + 1:])


def tree():
    """Path -> text of the files that count: tracked, or new and not ignored."""
    try:
        listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                                capture_output=True, text=True, check=True).stdout.split("\n")
    except (OSError, subprocess.CalledProcessError):  # an unpacked archive
        listed = [os.path.relpath(os.path.join(folder, name), ROOT)
                  for folder, _, names in os.walk(ROOT) for name in names]
        listed = [path for path in listed if not path.startswith(("build" + os.sep, "."))]
    files = {}
    for path in listed:
        if re.search(r"\.(cc|h|cu|cuh|cpp|hpp)$|(^|/)CMakeLists\.txt$", path) and os.path.exists(f"{ROOT}/{path}"):
            with open(f"{ROOT}/{path}", encoding="utf-8") as file:
                files[path] = file.read()
    return files


class StructureTest(unittest.TestCase):
    BAD_INCLUDES = [
        ("scheduler/engine.cc", "torch/torch.h"), ("scheduler/engine.cc", "grpcpp/grpcpp.h"),
        ("scheduler/engine.cc", "prometheus/counter.h"), ("scheduler/engine.cc", "ela/v1/generation.pb.h"),
        ("scheduler/engine.cc", "model/config.h"), ("scheduler/engine.cc", "server/convert.h"),
        ("model/config.cc", "scheduler/engine.h"), ("model/config.cc", "ela/v1/model.pb.h"),
        ("model/language/attention.cc", "torch/torch.h"), ("model/kernels/kernels.cc", "prometheus/gauge.h"),
        ("model/train/trainer.cc", "grpcpp/grpcpp.h"), ("client/client.cc", "model/config.h"),
        ("client/client.cc", "spdlog/spdlog.h"), ("client/detect.cc", "model/image/decode.h"),
        ("client/detect.cc", "cairo/cairo.h"), ("client/command/draw.cc", "model/config.h"), ("server/server.cc", "torch/torch.h"),
        ("server/server.cc", "model/language/worker_factory.h"), ("server/main.cc", "model/language/cpu_worker.h"),
        ("server/server.cc", "client/client.h"), ("server/server.cc", "tests/fakes/fake_worker.h"),
        ("common/strings.cc", "absl/strings/str_cat.h"), ("server/server.cc", "boost/asio.hpp"),
    ]
    GOOD_INCLUDES = [
        ("scheduler/engine.cc", "model/worker.h"), ("scheduler/engine.cc", "absl/time/time.h"),
        ("model/reference/layer.h", "torch/torch.h"), ("model/train/trainer.cc", "model/reference/layer.h"),
        ("server/main.cc", "model/language/worker_factory.h"), ("server/server.cc", "scheduler/engine.h"),
        ("server/convert.cc", "ela/v1/generation.pb.h"), ("client/client.cc", "ela/v1/generation.grpc.pb.h"),
        ("client/command/draw.cc", "model/image/image.h"), ("client/command/draw.cc", "cairo/cairo.h"),
        ("tests/model/any_test.cc", "torch/torch.h"), ("scheduler/engine.cc", "sys/types.h"),
    ]
    TARGETS = {"ela_scheduler": "scheduler", "ela_model": "model", "ela_model_interface": "model",
               "ela_language": "model/language", "ela_proto": "proto", "ela_server_lib": "server"}
    BAD_LINKS = [
        ("scheduler", "ela_scheduler", "ela_model"), ("scheduler", "ela_scheduler", "torch"),
        ("scheduler", "ela_scheduler", "gRPC::grpc++"), ("model", "ela_model", "ela_proto"),
        ("model/language", "ela_language", "torch"), ("model/language", "ela_language", "ela_scheduler"),
        ("client", "ela_client", "ela_model"), ("server", "ela_server_lib", "ela_language"),
        ("server", "ela_server_lib", "torch_c10"), ("server", "ela-server", "Boost::asio"),
    ]
    GOOD_LINKS = [
        ("scheduler", "ela_scheduler", "ela_model_interface"), ("server", "ela-server", "ela_language"),
        ("server", "ela_server_lib", "ela_scheduler"), ("model/train", "ela-train", "torch"),
        ("tests/server", "server_test", "ela_language"),
    ]

    def test_bad_examples_are_refused(self):
        tracked = {header for _, header in self.BAD_INCLUDES + self.GOOD_INCLUDES
                   if header.startswith(("model/", "scheduler/", "server/", "client/", "tests/"))}
        for path, header in self.BAD_INCLUDES:
            self.assertIsNotNone(check_include(path, header, header in tracked, tracked), f"{path} {header}")
        for path, header in self.GOOD_INCLUDES:
            self.assertIsNone(check_include(path, header, header in tracked, tracked), f"{path} {header}")
        self.assertIsNotNone(check_include("scheduler/engine.cc", "engine.h", True, tracked))
        for folder, target, link in self.BAD_LINKS:
            self.assertIsNotNone(check_link(f"{folder}/CMakeLists.txt", target, link, self.TARGETS), f"{target} {link}")
        for folder, target, link in self.GOOD_LINKS:
            self.assertIsNone(check_link(f"{folder}/CMakeLists.txt", target, link, self.TARGETS), f"{target} {link}")

    def test_includes_and_links_are_found(self):
        self.assertEqual(list(includes_of('#include "a/b.h"\n  #  include <c>\n/* #include "d" */\n')),
                         [("a/b.h", True), ("c", False)])
        self.assertEqual(list(links_of("target_link_libraries(x PUBLIC a::b  # c\n  PRIVATE d)\nela_test(t t.cc LIBS e)")),
                         [("x", "a::b"), ("x", "d"), ("t", "e")])

    def test_the_tree_fits_the_picture(self):
        files = tree()
        tracked = set(files)
        folder_of_target = {}
        for path, text in files.items():
            for words in commands_of(text, "add_library|add_executable") if path.endswith("CMakeLists.txt") else ():
                folder_of_target[words[0]] = os.path.dirname(path)
        complaints = []
        num_includes = num_links = 0
        for path, text in sorted(files.items()):
            if path.endswith("CMakeLists.txt"):
                for target, link in links_of(text) if path != "CMakeLists.txt" else ():
                    num_links += 1
                    complaints.append(check_link(path, target, link, folder_of_target))
            else:
                for header, quoted in includes_of(text):
                    num_includes += 1
                    complaints.append(check_include(path, header, quoted, tracked))
        complaints = [complaint for complaint in complaints if complaint]
        self.assertGreater(num_includes, 300, "the tree was not read")
        self.assertGreater(num_links, 30, "the tree was not read")
        if complaints:
            self.fail("\n".join(["", *complaints, PICTURE]))


if __name__ == "__main__":
    unittest.main()
