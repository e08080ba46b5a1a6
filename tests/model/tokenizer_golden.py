"""Writes tests/golden/tokenizer/cases.json: texts and what Hugging Face's `tokenizers` makes of them.

Run with a Python that has `tokenizers` (0.21.0 made the committed file):
    python tests/model/tokenizer_golden.py

Each variant is tests/golden/tokenizer/tokenizer.json with some of its keys replaced ("patch"; "model" is patched
key by key). A case holds the text's UTF-8 in hexadecimal where it is not valid, the ids, the ids with special
tokens read as plain text, and the text decoded from the ids with special tokens kept.
"""
import json
import pathlib
import random

import tokenizers

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "golden" / "tokenizer"

QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+")
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def split(pattern, behavior, invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def sequence(*steps):
    return {"pre_tokenizer": {"type": "Sequence", "pretokenizers": list(steps)}}


def added(content, id, **flags):
    token = {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": False}
    token.update(flags)
    return token


VARIANTS = [
    ("plain", {}),
    ("prefix_space", {"pre_tokenizer": dict(BYTE_LEVEL, add_prefix_space=True, use_regex=True)}),
    ("prefix_space_without_regex", {"pre_tokenizer": dict(BYTE_LEVEL, add_prefix_space=True)}),
    ("whole_text", {"pre_tokenizer": BYTE_LEVEL}),
    ("qwen", sequence(split(QWEN, "Isolated"), BYTE_LEVEL)),
    ("digits", sequence({"type": "Digits", "individual_digits": True},
                        dict(BYTE_LEVEL, use_regex=True))),
    ("digit_runs", sequence({"type": "Digits", "individual_digits": False},
                            dict(BYTE_LEVEL, add_prefix_space=True, use_regex=True))),
    ("removed", sequence(split(r"\s+", "Removed"), BYTE_LEVEL)),
    ("removed_inverted", sequence(split(r"\p{L}+", "Removed", True), BYTE_LEVEL)),
    ("merged_with_previous", sequence(split(" ", "MergedWithPrevious", kind="String"), BYTE_LEVEL)),
    ("merged_with_next", sequence(split(r"[\s\d]", "MergedWithNext"), BYTE_LEVEL)),
    ("contiguous", sequence(split(r"[\S]", "Contiguous"), BYTE_LEVEL)),
    ("empty_matches", sequence(split(r"\p{Lu}*", "MergedWithPrevious"), BYTE_LEVEL)),
    ("ignore_merges", {"model": {"ignore_merges": True}}),
    ("added_flags", {"added_tokens": [
        added("<|endoftext|>", 0, special=True), added("<l>", 6400, lstrip=True),
        added("<r>", 6401, rstrip=True), added("<lr>", 6402, lstrip=True, rstrip=True, special=True),
        added("word", 3093, single_word=True), added("norm", 6403, normalized=True),
        added("<|end", 6404), added("é̈", 6405), added("  ", 6406, normalized=True),
        added("qqzz", 6407, single_word=True)]}),
]

FIXED = [
    "", " ", "  ", "\n", "\r\n", "\t", "a", "Hello, world!", " Hello", "Hello ", "I'll don't he'S IT'S we've",
    "x = 3.14159 * 2**10", "1234567890 ٣٤٥ ½ ² Ⅷ 一二三", "a  b   c    d", "end  \n\n  start\n", "\r\n\r\n\r\na\r\rb",
    "tab\tthen\u000bvertical\u000cfeed\u0085next\u00a0nb\u1680\u180e\u2003em\u2028ls\u2029ps\u202f\u205f\u3000。",
    "天地玄黄,宇宙洪荒。", "Привет, мир!", "مرحبا بالعالم", "हिन्दी में", "ไทย", "한국어 텍스트", "日本語のテキスト",
    "e\u0301 é ö o\u0308\u0304", "Z\u0351\u036a\u0311a\u0306l\u0312g\u030eo\u0300", "👨‍👩‍👧‍👦 👍🏽 🇩🇪 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "𝕳𝖊𝖑𝖑𝖔 𐍈 𠜎 \U0010fffd \ue000", "\ufeffbom \u200b zero \u200d width \u00ad", "\u0000nul\u0001\u007f",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "<|endoftext|><|endoftext|> x", "<|endoftext", "<think>so</think>",
    "a <l> b", "a   <r>   b", " \n <lr> \n c", "word wordy sword word. _word word1 1 word", "normal norm abnorm",
    "<|end<|endoftext|>", "é̈ éé̈", "a\u3000<lr>\u2003\u0085b", "  <l>  <r>  <lr>  ", "qqzz \U00011f50qqzz qqzz\u0897 _qqzz éqqzz qqzz. ١qqzz qqzz\u200d qqzz",
    "1\U00011f501\U0001d2c0a\U0001e4f0", "ſ 'ſ K's 'S",
    "a" * 47, "a" * 48, "a" * 49, "the" * 400, "x" * 3000, "=" * 500, " " * 700 + "a", "\n" * 300, "é" * 333, "天" * 200,
    "supercalifragilisticexpialidocious" * 20, "http://example.com/a?b=c&d=%20#frag", "def f(x):\n    return x  # comment\n",
]
BROKEN = [b"\xff", b"a\x80b", b"\xc3", b"\xe5\xa4", b"\xe5\xa4 \xe5\xa4\xa9", b"\xf0\x9f\x91", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80",
          b"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", b"<|im_\xffend|>"]


def random_text(source):
    pools = ["abcXYZ the is", "0123456789٣½", " \t\n\r\u00a0\u3000\u180e", "'.,!?-_<>|[]{}", "éüßñçÀ", "天地人日本語", "\u0301\u0308\u200d\ufe0f",
             "👍🏽😀🇩🇪", "кирилл"]
    out = []
    for _ in range(source.randrange(1, 30)):
        kind = source.random()
        if kind < 0.15:
            point = source.randrange(0x110000)
            out.append(chr(point) if not 0xD800 <= point < 0xE000 else "?")
        elif kind < 0.22:
            out.append(source.choice(["<|im_start|>", "<think>", "<l>", "<r>", "<lr>", "word", "norm", "'ll", "'s", "  "]))
        else:
            pool = source.choice(pools)
            out.extend(source.choice(pool) for _ in range(source.randrange(1, 6)))
    return "".join(out)


def main():
    base = json.loads((FOLDER / "tokenizer.json").read_text())
    source = random.Random(20)
    texts = FIXED + [random_text(source) for _ in range(60)]
    variants = []
    for name, patch in VARIANTS:
        spec = dict(base)
        for key, value in patch.items():
            spec[key] = dict(base["model"], **value) if key == "model" else value
        tokenizer = tokenizers.Tokenizer.from_str(json.dumps(spec))
        cases = []
        for text in texts + (BROKEN if name == "plain" else []):
            case = {}
            if isinstance(text, bytes):
                case["hex"] = text.hex()
                text = text.decode("utf-8", "replace")
            else:
                case["text"] = text
            tokenizer.encode_special_tokens = False
            case["ids"] = tokenizer.encode(text).ids
            tokenizer.encode_special_tokens = True
            plain = tokenizer.encode(text).ids
            if plain != case["ids"]:
                case["plain_ids"] = plain
            decoded = tokenizer.decode(case["ids"], skip_special_tokens=False)
            if decoded != case.get("text"):
                case["decoded"] = decoded
            cases.append(case)
        variants.append({"name": name, "patch": patch, "cases": cases})
    lines = ",\n".join(json.dumps(variant, separators=(",", ":")) for variant in variants)
    (FOLDER / "cases.json").write_text("[\n" + lines + "\n]\n")
    print(sum(len(variant["cases"]) for variant in variants), "cases of tokenizers", tokenizers.__version__)


if __name__ == "__main__":
    main()
