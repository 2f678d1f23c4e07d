#!/usr/bin/env python3
"""Converts a BERT sentence-embedding model from safetensors to GGUF for llama.cpp.

The folder must hold config.json, vocab.txt (WordPiece) and model.safetensors; 1_Pooling/config.json chooses the pooling if it is there
(mean otherwise). Only Python's standard library is needed; --type q8_0 needs numpy. The same input gives the same bytes.

In f16 and q8_0 only the matrices shrink: biases, norms, positions and token types stay f32, as llama.cpp's own converter has it.
"""

import argparse
import json
import math
import os
import struct
import sys
from typing import Any, BinaryIO, Callable, NamedTuple

GGUF_VERSION = 3
ALIGNMENT = 32

# GGUF's types of metadata values.
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
# Token types.
NORMAL, CONTROL = 1, 3
# llama.cpp's pooling types.
POOLING_MEAN, POOLING_CLS = 1, 2

SPECIAL_TOKENS = {
    "bos": "[CLS]",
    "eos": "[SEP]",
    "unknown": "[UNK]",
    "seperator": "[SEP]",  # so spelt in GGUF
    "padding": "[PAD]",
    "mask": "[MASK]",
    "cls": "[CLS]",
}

# How many elements are converted at a time.
CHUNK = 1 << 18


class ConversionError(Exception):
    """The input cannot be converted; the message names the file and the field."""


class TensorType(NamedTuple):
    """A GGUF tensor type: its number, its blocks, and the `general.file_type` of a file that uses it."""

    number: int
    block_elements: int
    block_bytes: int
    file_type: int

    def size(self, elements: int) -> int:
        return elements // self.block_elements * self.block_bytes


TENSOR_TYPES = {
    "f32": TensorType(number=0, block_elements=1, block_bytes=4, file_type=0),
    "f16": TensorType(number=1, block_elements=1, block_bytes=2, file_type=1),
    "q8_0": TensorType(number=8, block_elements=32, block_bytes=34, file_type=7),
}


# Reading


def read_json(path: str) -> dict[str, Any]:
    with open(path, encoding="utf-8") as file:
        try:
            value = json.load(file)
        except ValueError as error:
            raise ConversionError(f"{path}: {error}") from None
    if not isinstance(value, dict):
        raise ConversionError(f"{path}: not a JSON object")
    return value


class Config:
    """config.json with checked access."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.values = read_json(path)

    def number(self, field: str, kind: type = int) -> Any:
        value = self.values.get(field)
        if isinstance(value, bool) or not isinstance(value, (int, kind)) or value <= 0:
            raise ConversionError(f"{self.path}: {field}: a positive {kind.__name__} is needed, found {value!r}")
        return kind(value)


def read_vocabulary(path: str, expected: int) -> list[str]:
    with open(path, encoding="utf-8", newline="\n") as file:
        tokens = file.read().removesuffix("\n").split("\n")
    if len(tokens) != expected:
        raise ConversionError(f"{path}: {len(tokens)} tokens, but config.json has vocab_size {expected}")
    for token in SPECIAL_TOKENS.values():
        if token not in tokens:
            raise ConversionError(f"{path}: the token {token} is missing")
    return tokens


def read_pooling(path: str) -> int:
    if not os.path.exists(path):
        return POOLING_MEAN
    modes = {key for key, on in read_json(path).items() if key.startswith("pooling_mode_") and on}
    if modes == {"pooling_mode_mean_tokens"}:
        return POOLING_MEAN
    if modes == {"pooling_mode_cls_token"}:
        return POOLING_CLS
    raise ConversionError(f"{path}: pooling_mode_*: only mean or cls can be converted, found {sorted(modes)}")


class Safetensors:
    """Tensors of a safetensors file as bytes of little-endian f32."""

    FORMATS = {"F32": ("f", 4), "F16": ("e", 2)}

    def __init__(self, path: str) -> None:
        self.path = path
        self.file = open(path, "rb")
        prefix = self.file.read(8)
        size = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if not 0 < size <= os.path.getsize(path) - 8:
            raise ConversionError(f"{path}: not a safetensors file")
        try:
            self.header = json.loads(self.file.read(size))
        except ValueError as error:
            raise ConversionError(f"{path}: header: {error}") from None
        self.data = 8 + size
        self.prefix = "" if "embeddings.word_embeddings.weight" in self.header else "bert."

    def shape(self, name: str) -> list[int]:
        return self._entry(name)["shape"]

    def chunks(self, name: str):
        """Yields the tensor's elements as packed f32, at most CHUNK of them at a time."""
        entry = self._entry(name)
        letter, width = self.FORMATS[entry["dtype"]]
        elements = math.prod(entry["shape"])
        begin, end = entry["data_offsets"]
        if end - begin != elements * width:
            raise ConversionError(f"{self.path}: {name}: data_offsets do not fit the shape")
        self.file.seek(self.data + begin)
        for start in range(0, elements, CHUNK):
            count = min(CHUNK, elements - start)
            data = self.file.read(count * width)
            if len(data) != count * width:
                raise ConversionError(f"{self.path}: {name}: the file ends within the tensor")
            if letter != "f":
                data = struct.pack(f"<{count}f", *struct.unpack(f"<{count}{letter}", data))
            yield data

    def _entry(self, name: str) -> dict[str, Any]:
        entry = self.header.get(self.prefix + name)
        if entry is None:
            raise ConversionError(f"{self.path}: the tensor {self.prefix + name} is missing")
        if entry["dtype"] not in self.FORMATS:
            raise ConversionError(f"{self.path}: {name}: dtype {entry['dtype']} is not supported (F32 and F16 are)")
        return entry


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


def encode_string(text: str) -> bytes:
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def encode_value(kind: int, value: Any) -> bytes:
    if kind == STRING:
        return encode_string(value)
    return struct.pack({UINT32: "<I", INT32: "<i", FLOAT32: "<f", BOOL: "<?"}[kind], value)


class Metadata:
    """The key-value pairs of a GGUF header."""

    def __init__(self) -> None:
        self.count = 0
        self.data = bytearray()

    def put(self, key: str, kind: int, value: Any) -> None:
        self.count += 1
        self.data += encode_string(key) + struct.pack("<I", kind) + encode_value(kind, value)

    def put_array(self, key: str, kind: int, values: list[Any]) -> None:
        self.count += 1
        self.data += encode_string(key) + struct.pack("<IIQ", ARRAY, kind, len(values))
        for value in values:
            self.data += encode_value(kind, value)


# BERT


def model_metadata(name: str, type_name: str, config: Config, pooling: int) -> Metadata:
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
    metadata.put("bert.pooling_type", UINT32, pooling)
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
    if len(shape) != 2 or target in ("position_embd.weight", "token_types.weight"):
        return "f32"
    if shape[-1] % TENSOR_TYPES[wanted].block_elements != 0:
        raise ConversionError(f"{target}: rows of {shape[-1]} elements do not divide into blocks of {wanted}")
    return wanted


def padding(size: int) -> int:
    return -size % ALIGNMENT


def write_gguf(out: BinaryIO, metadata: Metadata, tensors: Safetensors, names: list[tuple[str, str]], wanted: str) -> None:
    infos, types, offset = bytearray(), [], 0
    for source, target in names:
        shape = tensors.shape(source)
        type_name = tensor_type(target, shape, wanted)
        infos += encode_string(target) + struct.pack("<I", len(shape))
        infos += struct.pack(f"<{len(shape)}Q", *reversed(shape))
        infos += struct.pack("<IQ", TENSOR_TYPES[type_name].number, offset)
        types.append(type_name)
        size = TENSOR_TYPES[type_name].size(math.prod(shape))
        offset += size + padding(size)

    header = b"GGUF" + struct.pack("<IQQ", GGUF_VERSION, len(names), metadata.count) + metadata.data + infos
    out.write(header + bytes(padding(len(header))))
    for (source, _), type_name in zip(names, types):
        size = 0
        for data in tensors.chunks(source):
            size += out.write(ENCODERS[type_name](data))
        out.write(bytes(padding(size)))


def convert(folder: str, output: str, name: str, type_name: str) -> None:
    config = Config(os.path.join(folder, "config.json"))
    vocabulary = read_vocabulary(os.path.join(folder, "vocab.txt"), config.number("vocab_size"))
    pooling = read_pooling(os.path.join(folder, "1_Pooling", "config.json"))
    tensors = Safetensors(os.path.join(folder, "model.safetensors"))
    metadata = model_metadata(name, type_name, config, pooling)
    put_tokenizer(metadata, vocabulary)
    names = tensor_names(config.number("num_hidden_layers"))

    unfinished = output + ".part"
    try:
        with open(unfinished, "wb") as out:
            write_gguf(out, metadata, tensors, names, type_name)
        os.replace(unfinished, output)
    finally:
        if os.path.exists(unfinished):
            os.remove(unfinished)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="the model's folder")
    parser.add_argument("output", help="the GGUF file to write")
    parser.add_argument("--type", choices=sorted(TENSOR_TYPES), default="f16", help="type of the matrices (default: f16)")
    parser.add_argument("--name", help="general.name (default: the folder's name)")
    arguments = parser.parse_args()
    name = arguments.name or os.path.basename(os.path.abspath(arguments.folder))
    try:
        convert(arguments.folder, arguments.output, name, arguments.type)
    except ImportError as error:
        print(f"bert_to_gguf.py: --type {arguments.type}: {error}", file=sys.stderr)
        return 1
    except (ConversionError, OSError, UnicodeDecodeError) as error:
        print(f"bert_to_gguf.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
