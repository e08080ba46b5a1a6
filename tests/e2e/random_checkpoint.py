"""A checkpoint of a small model with random weights and the real tokenizer: nothing that it says makes
sense, but every part of a server has to work for it to say anything."""

import json
import pathlib
import shutil
import struct

import numpy

TOKENIZER = pathlib.Path(__file__).resolve().parents[1] / "golden" / "tokenizer"

CONFIG = {
    "model_type": "ela_gpt",
    "vocab_size": 6400,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_experts": 2,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 64,
    "short_conv": 4,
    "decay": "gated",
    "output_gate": True,
    "position_encoding": "none",
    "final_norm": True,
    "memory_lobe": {"mode": "causal", "heads": 2},
    "eos_token_id": 2,
}


def shapes(config):
    """Name and shape of every tensor (docs/model.md 5)."""
    d, width = config["hidden_size"], config["moe_intermediate_size"]
    yield "token_embed.weight", (config["vocab_size"], d)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"decoder_layers.{layer}."
        yield prefix + "norm.weight", (d,)
        for name in ("q_proj", "k_proj", "v_proj", "out_proj", "gate_proj"):
            yield f"{prefix}self_attn.{name}.weight", (d, d)
        for name in ("q_conv", "k_conv", "v_conv"):
            yield f"{prefix}self_attn.{name}.weight", (d, 1, config["short_conv"])
        yield prefix + "self_attn.decay_in.weight", (16, d)
        yield prefix + "self_attn.decay_out.weight", (d, 16)
        yield prefix + "self_attn.decay_out.bias", (d,)
        yield prefix + "MoE.gate.weight", (config["num_experts"], d)
        yield prefix + "MoE.gate.bias", (config["num_experts"],)
        for expert in range(config["num_experts"]):
            yield f"{prefix}MoE.experts.{expert}.linear.weight", (2 * width, d)
            yield f"{prefix}MoE.experts.{expert}.out_proj.weight", (d, width)
        for name in "QKV":
            yield f"{prefix}lob.{name}.weight", (d, d)
    yield "final_norm.weight", (d,)


def write_safetensors(path, tensors):
    """`tensors`: name to float32 array."""
    header, offset = {}, 0
    for name, array in tensors.items():
        header[name] = {
            "dtype": "F32",
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for array in tensors.values():
            file.write(array.tobytes())


def write(directory, seed=1):
    """Fills `directory` with config, weights and tokenizer; returns it."""
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    random = numpy.random.default_rng(seed)
    tensors = {}
    for name, shape in shapes(CONFIG):
        if name.endswith("norm.weight"):
            tensors[name] = numpy.ones(shape, numpy.float32)
        else:
            scale = 1.0 / numpy.sqrt(shape[-1])
            tensors[name] = random.normal(0, scale, shape).astype(numpy.float32)
    write_safetensors(directory / "model.safetensors", tensors)
    (directory / "config.json").write_text(json.dumps(CONFIG, indent=2))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZER / name, directory / name)
    return directory
