#!/usr/bin/env python3
"""Converts a BERT sentence-embedding model from safetensors to GGUF for llama.cpp.

The folder must hold config.json, vocab.txt (WordPiece) and model.safetensors; 1_Pooling/config.json chooses the pooling if it is there
(mean otherwise). Only Python's standard library is needed; --type q8_0 needs numpy. The same input gives the same bytes.

In f16 and q8_0 only the matrices shrink: biases, norms, positions and token types stay f32, as llama.cpp's own converter has it.
"""

import argparse
import os
import struct
import sys
from typing import Callable, Iterator

from bert_files import SPECIAL_TOKENS, Config, ConversionError, Safetensors, read_pooling, read_vocabulary
from gguf_writer import BOOL, FLOAT32, INT32, STRING, TENSOR_TYPES, UINT32, Metadata, Tensor, write_gguf

# Token types.
NORMAL, CONTROL = 1, 3
# llama.cpp's pooling types.
POOLING_TYPES = {"mean": 1, "cls": 2}

# Encoding


def to_f32(data: bytes) -> bytes:
    return data


def to_f16(data: bytes) -> bytes:
    count = len(data) // 4
    return struct.pack(f"<{count}e", *struct.unpack(f"<{count}f", data))


def to_q8_0(data: bytes) -> bytes:
    """Blocks of 32: an f16 scale (the largest magnitude / 127), then 32 signed bytes, rounded half away from zero as ggml does."""
    import numpy

    blocks = numpy.frombuffer(data, "<f4").reshape(-1, 32)
    scale = numpy.abs(blocks).max(axis=1) / numpy.float32(127)
    inverse = numpy.divide(1, scale, where=scale != 0, out=numpy.zeros_like(scale))
    scaled = blocks * inverse[:, None]
    out = numpy.empty((len(blocks), 34), numpy.uint8)
    out[:, :2] = scale.astype("<f2").view(numpy.uint8).reshape(-1, 2)
    out[:, 2:] = numpy.trunc(scaled + numpy.copysign(numpy.float32(0.5), scaled)).astype(numpy.int8).view(numpy.uint8)
    return out.tobytes()


ENCODERS: dict[str, Callable[[bytes], bytes]] = {"f32": to_f32, "f16": to_f16, "q8_0": to_q8_0}


def model_metadata(name: str, type_name: str, config: Config, pooling: str) -> Metadata:
    metadata = Metadata()
    metadata.put("general.architecture", STRING, "bert")
    metadata.put("general.name", STRING, name)
    metadata.put("general.file_type", UINT32, TENSOR_TYPES[type_name].file_type)
    metadata.put("general.quantization_version", UINT32, 2)
    metadata.put("bert.block_count", UINT32, config.number("num_hidden_layers"))
    metadata.put("bert.context_length", UINT32, config.number("max_position_embeddings"))
    metadata.put("bert.embedding_length", UINT32, config.number("hidden_size"))
    metadata.put("bert.feed_forward_length", UINT32, config.number("intermediate_size"))
    metadata.put("bert.attention.head_count", UINT32, config.number("num_attention_heads"))
    metadata.put("bert.attention.layer_norm_epsilon", FLOAT32, config.number("layer_norm_eps", float))
    metadata.put("bert.attention.causal", BOOL, False)
    metadata.put("bert.pooling_type", UINT32, POOLING_TYPES[pooling])
    metadata.put("tokenizer.ggml.token_type_count", UINT32, config.number("type_vocab_size"))
    return metadata


def put_tokenizer(metadata: Metadata, vocabulary: list[str]) -> None:
    """llama.cpp marks the beginning of a word with U+2581, where WordPiece marks its continuation with ##."""
    tokens, types = [], []
    for token in vocabulary:
        special = token in SPECIAL_TOKENS.values()
        tokens.append(token if special else token[2:] if token.startswith("##") else "\u2581" + token)
        types.append(CONTROL if special else NORMAL)
    metadata.put("tokenizer.ggml.model", STRING, "bert")
    metadata.put("tokenizer.ggml.pre", STRING, "bert-bge")
    metadata.put_array("tokenizer.ggml.tokens", STRING, tokens)
    metadata.put_array("tokenizer.ggml.token_type", INT32, types)
    for role, token in SPECIAL_TOKENS.items():
        metadata.put(f"tokenizer.ggml.{role}_token_id", UINT32, vocabulary.index(token))


def tensor_names(blocks: int) -> list[tuple[str, str]]:
    """(name in safetensors, name in GGUF), in the order of the file."""
    names = [
        ("embeddings.word_embeddings.weight", "token_embd.weight"),
        ("embeddings.position_embeddings.weight", "position_embd.weight"),
        ("embeddings.token_type_embeddings.weight", "token_types.weight"),
        ("embeddings.LayerNorm.weight", "token_embd_norm.weight"),
        ("embeddings.LayerNorm.bias", "token_embd_norm.bias"),
    ]
    parts = [
        ("attention.self.query", "attn_q"),
        ("attention.self.key", "attn_k"),
        ("attention.self.value", "attn_v"),
        ("attention.output.dense", "attn_output"),
        ("attention.output.LayerNorm", "attn_output_norm"),
        ("intermediate.dense", "ffn_up"),
        ("output.dense", "ffn_down"),
        ("output.LayerNorm", "layer_output_norm"),
    ]
    for block in range(blocks):
        for source, target in parts:
            for end in ("weight", "bias"):
                names.append((f"encoder.layer.{block}.{source}.{end}", f"blk.{block}.{target}.{end}"))
    return names


def tensor_type(target: str, shape: list[int], wanted: str) -> str:
    matrix = len(shape) == 2 and target not in ("position_embd.weight", "token_types.weight")
    return wanted if matrix else "f32"


def encoded(source: Safetensors, name: str, type_name: str) -> Iterator[bytes]:
    for data in source.chunks(name):
        yield ENCODERS[type_name](data)


def file_tensors(source: Safetensors, blocks: int, wanted: str) -> list[Tensor]:
    tensors = []
    for name, target in tensor_names(blocks):
        shape = source.shape(name)
        type_name = tensor_type(target, shape, wanted)
        tensors.append(Tensor(target, shape, type_name, lambda name=name, type_name=type_name: encoded(source, name, type_name)))
    return tensors


def convert(folder: str, output: str, name: str, type_name: str) -> None:
    config = Config(os.path.join(folder, "config.json"))
    vocabulary = read_vocabulary(os.path.join(folder, "vocab.txt"), config.number("vocab_size"))
    pooling = read_pooling(os.path.join(folder, "1_Pooling", "config.json"))
    source = Safetensors(os.path.join(folder, "model.safetensors"))
    metadata = model_metadata(name, type_name, config, pooling)
    put_tokenizer(metadata, vocabulary)
    write_gguf(output, metadata, file_tensors(source, config.number("num_hidden_layers"), type_name))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="the model's folder")
    parser.add_argument("output", help="the GGUF file to write")
    parser.add_argument("--type", choices=sorted(ENCODERS), default="f16", help="type of the matrices (default: f16)")
    parser.add_argument("--name", help="general.name (default: the folder's name)")
    arguments = parser.parse_args()
    name = arguments.name or os.path.basename(os.path.abspath(arguments.folder))
    try:
        convert(arguments.folder, arguments.output, name, arguments.type)
    except ImportError as error:
        print(f"bert_to_gguf.py: --type {arguments.type}: {error}", file=sys.stderr)
        return 1
    except (ConversionError, OSError, UnicodeDecodeError, ValueError) as error:
        print(f"bert_to_gguf.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
