"""Reads a BERT sentence-embedding model's folder: config.json, vocab.txt, model.safetensors and 1_Pooling/config.json. Python's standard library alone."""

from __future__ import annotations

import json
import math
import os
import struct
from typing import Any

POOLING_MEAN, POOLING_CLS = "mean", "cls"

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


def read_pooling(path: str) -> str:
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
