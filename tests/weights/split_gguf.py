#!/usr/bin/env python3
"""Splits a GGUF file into parts, as llama.cpp's own tool names and marks them: BASE-00001-of-00008.gguf and so on.

    split_gguf.py INPUT BASE PARTS

All metadata goes into the first part, the tensors go in order, about as many bytes into each. Standard library alone; the same bytes everywhere.
"""

from __future__ import annotations

import os
import struct
import sys
from typing import NamedTuple

UINT16, INT32, STRING, ARRAY = 2, 5, 8, 9
SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
ALIGNMENT = 32


class Tensor(NamedTuple):
    head: bytes  # its name, shape and type
    data: bytes


class Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def number(self, form: str) -> int:
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def skip_string(self) -> None:
        length = self.number("<Q")
        self.at += length

    def skip_value(self, kind: int) -> None:
        if kind == STRING:
            self.skip_string()
        elif kind == ARRAY:
            kind, count = self.number("<I"), self.number("<Q")
            for _ in range(count):
                self.skip_value(kind)
        else:
            self.at += SCALAR_BYTES[kind]


def read(path: str) -> tuple[int, bytes, list[Tensor]]:
    """The number of keys, their bytes, and the tensors."""
    with open(path, "rb") as file:
        reader = Reader(file.read())
    if reader.data[:8] != b"GGUF" + struct.pack("<I", 3):
        raise SystemExit(f"{path}: not a GGUF file of version 3")
    reader.at = 8
    tensor_count, key_count = reader.number("<Q"), reader.number("<Q")
    begin = reader.at
    for _ in range(key_count):
        reader.skip_string()
        reader.skip_value(reader.number("<I"))
    keys = reader.data[begin : reader.at]
    heads, offsets = [], []
    for _ in range(tensor_count):
        begin = reader.at
        reader.skip_string()
        dimensions = reader.number("<I")
        reader.at += 8 * dimensions + 4
        heads.append(reader.data[begin : reader.at])
        offsets.append(reader.number("<Q"))
    start = reader.at + -reader.at % ALIGNMENT
    ends = offsets[1:] + [len(reader.data) - start]
    return key_count, keys, [Tensor(head, reader.data[start + a : start + b]) for head, a, b in zip(heads, offsets, ends)]


def key(name: str, kind: int, form: str, value: int) -> bytes:
    data = name.encode()
    return struct.pack("<Q", len(data)) + data + struct.pack("<I" + form, kind, value)


def write(path: str, key_count: int, keys: bytes, tensors: list[Tensor], part: int, parts: int, total: int) -> None:
    keys += key("split.no", UINT16, "H", part) + key("split.count", UINT16, "H", parts) + key("split.tensors.count", INT32, "i", total)
    infos, body = b"", b""
    for tensor in tensors:
        infos += tensor.head + struct.pack("<Q", len(body))
        body += tensor.data + bytes(-len(tensor.data) % ALIGNMENT)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), key_count + 3) + keys + infos
    with open(path + ".part", "wb") as file:
        file.write(head + bytes(-len(head) % ALIGNMENT) + body)
    os.replace(path + ".part", path)


def main() -> None:
    if len(sys.argv) != 4 or not sys.argv[3].isdigit() or not 1 <= int(sys.argv[3]) <= 999:
        raise SystemExit((__doc__ or "").strip())
    source, base, parts = sys.argv[1], sys.argv[2], int(sys.argv[3])
    key_count, keys, tensors = read(source)
    if parts > len(tensors):
        raise SystemExit(f"{source} has {len(tensors)} tensors, fewer than {parts} parts")
    share = sum(len(tensor.data) for tensor in tensors) / parts
    groups: list[list[Tensor]] = [[]]
    written = 0
    for i, tensor in enumerate(tensors):
        left, begun = len(tensors) - i, len(groups)
        if groups[-1] and begun < parts and (written >= share * begun or left <= parts - begun):
            groups.append([])
        groups[-1].append(tensor)
        written += len(tensor.data)
    for part, group in enumerate(groups):
        first = part == 0
        write(f"{base}-{part + 1:05}-of-{parts:05}.gguf", key_count if first else 0, keys if first else b"", group, part, parts, len(tensors))


if __name__ == "__main__":
    main()
