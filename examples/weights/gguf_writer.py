"""Writes GGUF files (version 3, little-endian): metadata, then tensors, each in its own place. Python's standard library alone.

The format is described in ggml's docs/gguf.md. A tensor's shape is given as numpy has it, outermost dimension first; the file has it the other way round.
The same calls give the same bytes.
"""

from __future__ import annotations

import math
import os
import struct
from typing import Any, BinaryIO, Callable, Iterable, NamedTuple, Sequence, Union

GGUF_VERSION = 3
ALIGNMENT = 32

# Types of metadata values.
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9


class TensorType(NamedTuple):
    """A tensor type: its number, its blocks, and the `general.file_type` of a file that uses it."""

    number: int
    block_elements: int
    block_bytes: int
    file_type: int

    def size(self, elements: int) -> int:
        return elements // self.block_elements * self.block_bytes


TENSOR_TYPES = {
    "f32": TensorType(number=0, block_elements=1, block_bytes=4, file_type=0),
    "f16": TensorType(number=1, block_elements=1, block_bytes=2, file_type=1),
    "q4_0": TensorType(number=2, block_elements=32, block_bytes=18, file_type=2),
    "q8_0": TensorType(number=8, block_elements=32, block_bytes=34, file_type=7),
    "tq1_0": TensorType(number=34, block_elements=256, block_bytes=54, file_type=36),
}

# A piece of a tensor: bytes, or so many zero bytes, which are left out of the file's blocks on disk where the file system can do that.
Piece = Union[bytes, int]


class Tensor(NamedTuple):
    name: str
    shape: Sequence[int]
    type_name: str
    pieces: Callable[[], Iterable[Piece]]

    def size(self) -> int:
        kind = TENSOR_TYPES[self.type_name]
        if self.shape[-1] % kind.block_elements != 0:
            raise ValueError(f"{self.name}: rows of {self.shape[-1]} elements do not divide into blocks of {self.type_name}")
        return kind.size(math.prod(self.shape))


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

    def put_array(self, key: str, kind: int, values: Sequence[Any]) -> None:
        self.count += 1
        self.data += encode_string(key) + struct.pack("<IIQ", ARRAY, kind, len(values))
        for value in values:
            self.data += encode_value(kind, value)


def padding(size: int) -> int:
    return -size % ALIGNMENT


def write_piece(out: BinaryIO, piece: Piece) -> int:
    if isinstance(piece, int):
        out.seek(piece, os.SEEK_CUR)
        return piece
    return out.write(piece)


def write_gguf(path: str, metadata: Metadata, tensors: Sequence[Tensor]) -> None:
    """The file appears under its name only when it is complete."""
    infos, offset = bytearray(), 0
    for tensor in tensors:
        infos += encode_string(tensor.name) + struct.pack("<I", len(tensor.shape))
        infos += struct.pack(f"<{len(tensor.shape)}Q", *reversed(tensor.shape))
        infos += struct.pack("<IQ", TENSOR_TYPES[tensor.type_name].number, offset)
        offset += tensor.size() + padding(tensor.size())
    header = b"GGUF" + struct.pack("<IQQ", GGUF_VERSION, len(tensors), metadata.count) + metadata.data + infos

    unfinished = path + ".part"
    try:
        with open(unfinished, "wb") as out:
            out.write(header)
            write_piece(out, padding(len(header)))
            for tensor in tensors:
                written = sum(write_piece(out, piece) for piece in tensor.pieces())
                if written != tensor.size():
                    raise ValueError(f"{tensor.name}: {written} bytes, {tensor.size()} expected")
                write_piece(out, padding(written))
            out.truncate(out.tell())
        os.replace(unfinished, path)
    finally:
        if os.path.exists(unfinished):
            os.remove(unfinished)
