#!/usr/bin/env python3
"""Makes a LLaVA of a size at which its engine has something to do, with random weights: a language model and its vision tower, for the case `vision`.

The tower has LLaVA-1.5's picture (336 pixels, patches of 14: 576 tokens), the language model its 32,000 tokens; both are narrow and shallow. What it says is
nonsense, and it never ends an answer by itself: the rows of the tokens that would (and of those that are no text) are zero. Python's standard library alone.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from typing import Iterator

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "weights"))

from gguf_writer import BOOL, FLOAT32, INT32, STRING, UINT32, Metadata, Tensor, write_gguf  # noqa: E402
from noise import Noise  # noqa: E402

VOCABULARY = 32000
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
CONTEXT = 2048

IMAGE, PATCH = 336, 14
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)


class Builder:
    """The tensors of one file."""

    def __init__(self, seed: int) -> None:
        self.noise = Noise(seed)
        self.tensors: list[Tensor] = []

    def matrix(self, name: str, rows: int, columns: int, zero_rows: int = 0) -> None:
        def pieces() -> Iterator[bytes]:
            yield bytes(2 * zero_rows * columns)
            yield from self.noise.pieces("e", (rows - zero_rows) * columns, 1 / math.sqrt(columns))

        self.tensors.append(Tensor(name, (rows, columns), "f16", pieces))

    def numbers(self, name: str, shape: tuple, type_name: str, deviation: float, mean: float = 0.0) -> None:
        letter = "f" if type_name == "f32" else "e"
        self.tensors.append(Tensor(name, shape, type_name, lambda: self.noise.pieces(letter, math.prod(shape), deviation, mean)))

    def norm(self, name: str, width: int) -> None:
        self.numbers(name + ".weight", (width,), "f32", 0.05, 1.0)
        self.numbers(name + ".bias", (width,), "f32", 0.02)

    def linear(self, name: str, rows: int, columns: int) -> None:
        self.matrix(name + ".weight", rows, columns)
        self.numbers(name + ".bias", (rows,), "f32", 0.02)


def put_vocabulary(metadata: Metadata) -> int:
    """Returns how many tokens come first that are no text of their own."""
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    types = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256
    mute = len(tokens)
    tokens += ["\u2581"] + [chr(code) for code in range(33, 127)]
    tokens += [f"\u2581w{number}" for number in range(VOCABULARY - len(tokens))]
    types += [NORMAL] * (len(tokens) - len(types))
    metadata.put("tokenizer.ggml.model", STRING, "llama")
    metadata.put_array("tokenizer.ggml.tokens", STRING, tokens)
    metadata.put_array("tokenizer.ggml.scores", FLOAT32, [0.0 if kind != NORMAL else -1000.0 for kind in types])
    metadata.put_array("tokenizer.ggml.token_type", INT32, types)
    for name, token in (("unknown", 0), ("bos", 1), ("eos", 2)):
        metadata.put(f"tokenizer.ggml.{name}_token_id", UINT32, token)
    metadata.put("tokenizer.ggml.add_bos_token", BOOL, True)
    metadata.put("tokenizer.ggml.add_eos_token", BOOL, False)
    return mute


def make_language_model(path: str, width: int, layers: int) -> None:
    heads, feed_forward = width // 64, width * 11 // 4
    metadata, build = Metadata(), Builder(1)
    metadata.put("general.architecture", STRING, "llama")
    metadata.put("general.name", STRING, "benchmark LLaVA, random weights")
    metadata.put("general.file_type", UINT32, 1)
    for name, value in (("context_length", CONTEXT), ("embedding_length", width), ("block_count", layers), ("feed_forward_length", feed_forward),
                        ("attention.head_count", heads), ("attention.head_count_kv", heads), ("rope.dimension_count", 64), ("vocab_size", VOCABULARY)):
        metadata.put("llama." + name, UINT32, value)
    metadata.put("llama.attention.layer_norm_rms_epsilon", FLOAT32, 1e-5)
    mute = put_vocabulary(metadata)
    build.matrix("token_embd.weight", VOCABULARY, width)
    for layer in range(layers):
        block = f"blk.{layer}."
        build.numbers(block + "attn_norm.weight", (width,), "f32", 0.05, 1.0)
        build.numbers(block + "ffn_norm.weight", (width,), "f32", 0.05, 1.0)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            build.matrix(f"{block}{name}.weight", width, width)
        build.matrix(block + "ffn_gate.weight", feed_forward, width)
        build.matrix(block + "ffn_up.weight", feed_forward, width)
        build.matrix(block + "ffn_down.weight", width, feed_forward)
    build.numbers("output_norm.weight", (width,), "f32", 0.05, 1.0)
    build.matrix("output.weight", VOCABULARY, width, mute)
    write_gguf(path, metadata, build.tensors)


def make_tower(path: str, width: int, layers: int, projection: int) -> None:
    """`layers` are computed: LLaVA takes the vectors before the last block, which the file has as well."""
    metadata, build = Metadata(), Builder(2)
    metadata.put("general.architecture", STRING, "clip")
    metadata.put("general.type", STRING, "mmproj")
    metadata.put("general.name", STRING, "benchmark LLaVA, random weights")
    metadata.put("general.file_type", UINT32, 1)
    metadata.put("clip.has_vision_encoder", BOOL, True)
    metadata.put("clip.projector_type", STRING, "mlp")
    metadata.put("clip.use_gelu", BOOL, False)
    for name, value in (("image_size", IMAGE), ("patch_size", PATCH), ("embedding_length", width), ("feed_forward_length", 4 * width),
                        ("block_count", layers + 1), ("projection_dim", projection), ("attention.head_count", width // 64)):
        metadata.put("clip.vision." + name, UINT32, value)
    metadata.put("clip.vision.attention.layer_norm_epsilon", FLOAT32, 1e-5)
    metadata.put_array("clip.vision.image_mean", FLOAT32, MEAN)
    metadata.put_array("clip.vision.image_std", FLOAT32, DEVIATION)
    build.numbers("v.class_embd", (width,), "f32", 0.5)
    build.numbers("v.patch_embd.weight", (width, 3, PATCH, PATCH), "f16", 1 / math.sqrt(3 * PATCH * PATCH))
    build.numbers("v.position_embd.weight", ((IMAGE // PATCH) ** 2 + 1, width), "f32", 0.1)
    build.norm("v.pre_ln", width)
    for layer in range(layers + 1):
        block = f"v.blk.{layer}."
        build.norm(block + "ln1", width)
        build.norm(block + "ln2", width)
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            build.linear(block + name, width, width)
        build.linear(block + "ffn_up", 4 * width, width)
        build.linear(block + "ffn_down", width, 4 * width)
    build.linear("mm.0", projection, width)
    build.linear("mm.2", projection, projection)
    write_gguf(path, metadata, build.tensors)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="the language model's file, *.gguf")
    parser.add_argument("mmproj", help="the vision tower's file, *.gguf")
    parser.add_argument("--width", type=int, default=512, help="of both, a multiple of 64 (default 512)")
    parser.add_argument("--layers", type=int, default=12, help="of both (default 12)")
    arguments = parser.parse_args()
    if arguments.width < 64 or arguments.width % 64 or arguments.layers < 1:
        parser.error("the width must be a multiple of 64, and there must be a layer")
    make_tower(arguments.mmproj, arguments.width, arguments.layers, arguments.width)
    make_language_model(arguments.model, arguments.width, arguments.layers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
