"""Writes ONNX files: a graph of operators with its weights inside. Python's standard library alone; no onnx package.

An ONNX file is one protocol-buffer message; the field numbers below are those of onnx/onnx.proto (ModelProto, GraphProto, NodeProto, AttributeProto,
TensorProto, ValueInfoProto). The same calls give the same bytes.

    graph = Graph("example")
    x = graph.input("x", FLOAT, ["batch", 3])
    w = graph.constant("w", FLOAT, [3, 2], weights_as_bytes)
    graph.operator("MatMul", x, w, output="y")
    graph.output("y", FLOAT, ["batch", 2])
    graph.write("example.onnx")
"""

from __future__ import annotations

import math
import os
import struct
from typing import Optional, Sequence, Union

# Element types (TensorProto.DataType) and their sizes.
FLOAT, INT64, FLOAT16 = 1, 7, 10
ELEMENT_BYTES = {FLOAT: 4, INT64: 8, FLOAT16: 2}

IR_VERSION = 8
OPSET = 17

# Attribute types (AttributeProto.AttributeType).
ATTRIBUTE_FLOAT, ATTRIBUTE_INT, ATTRIBUTE_INTS = 1, 2, 7

Attribute = Union[float, int, Sequence[int]]
Dimension = Union[int, str]


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def integer(field: int, number: int) -> bytes:
    return varint(field << 3) + varint(number)


def real(field: int, number: float) -> bytes:
    return varint(field << 3 | 5) + struct.pack("<f", number)


def block(field: int, data: Union[bytes, str]) -> bytes:
    data = data.encode("utf-8") if isinstance(data, str) else data
    return varint(field << 3 | 2) + varint(len(data)) + data


def attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, float):
        return block(1, name) + real(2, value) + integer(20, ATTRIBUTE_FLOAT)
    if isinstance(value, int):
        return block(1, name) + integer(3, value) + integer(20, ATTRIBUTE_INT)
    return block(1, name) + b"".join(integer(8, item) for item in value) + integer(20, ATTRIBUTE_INTS)


def value_info(name: str, element: int, dimensions: Sequence[Dimension]) -> bytes:
    shape = b"".join(block(1, block(2, size) if isinstance(size, str) else integer(1, size)) for size in dimensions)
    return block(1, name) + block(2, block(1, integer(1, element) + block(2, shape)))


class Graph:
    """Names are given back, so that operators nest as expressions do."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[bytes] = []
        self.weights: dict[str, list[bytes]] = {}
        self.inputs: list[bytes] = []
        self.outputs: list[bytes] = []

    def constant(self, name: str, element: int, shape: Sequence[int], data: bytes) -> str:
        """Weights, row-major and little-endian. A name is written once; later calls only use it."""
        if name not in self.weights:
            if len(data) != math.prod(shape) * ELEMENT_BYTES[element]:
                raise ValueError(f"{name}: {len(data)} bytes do not fill {list(shape)}")
            head = b"".join(integer(1, size) for size in shape) + integer(2, element) + block(8, name)
            self.weights[name] = [varint(5 << 3 | 2), head, varint(9 << 3 | 2) + varint(len(data)), data]
        return name

    def integers(self, name: str, values: Sequence[int]) -> str:
        return self.constant(name, INT64, [len(values)], struct.pack(f"<{len(values)}q", *values))

    def number(self, name: str, value: int) -> str:
        """An integer without dimensions, as Range wants them."""
        return self.constant(name, INT64, [], struct.pack("<q", value))

    def scalar(self, name: str, value: float) -> str:
        return self.constant(name, FLOAT, [], struct.pack("<f", value))

    def operator(self, kind: str, *inputs: str, output: Optional[str] = None, **attributes: Attribute) -> str:
        name = f"{kind}_{len(self.nodes)}"
        output = output or name
        node = b"".join(block(1, item) for item in inputs) + block(2, output) + block(3, name) + block(4, kind)
        node += b"".join(block(5, attribute(key, value)) for key, value in attributes.items())
        self.nodes.append(block(1, node))
        return output

    def parts(self, kind: str, count: int, *inputs: str, **attributes: Attribute) -> list[str]:
        """An operator that gives several results."""
        name = f"{kind}_{len(self.nodes)}"
        outputs = [f"{name}.{i}" for i in range(count)]
        node = b"".join(block(1, item) for item in inputs) + b"".join(block(2, item) for item in outputs) + block(3, name) + block(4, kind)
        node += b"".join(block(5, attribute(key, value)) for key, value in attributes.items())
        self.nodes.append(block(1, node))
        return outputs

    def input(self, name: str, element: int, dimensions: Sequence[Dimension]) -> str:
        self.inputs.append(block(11, value_info(name, element, dimensions)))
        return name

    def output(self, name: str, element: int, dimensions: Sequence[Dimension]) -> None:
        self.outputs.append(block(12, value_info(name, element, dimensions)))

    def write(self, path: str) -> None:
        """The file appears under its name only when it is complete."""
        pieces = [*self.nodes, block(2, self.name)]
        for prefix, head, raw, data in self.weights.values():
            pieces += [prefix, varint(len(head) + len(raw) + len(data)), head, raw, data]
        pieces += [*self.inputs, *self.outputs]
        size = sum(len(piece) for piece in pieces)
        unfinished = path + ".part"
        try:
            with open(unfinished, "wb") as out:
                out.write(integer(1, IR_VERSION) + block(2, "cadre") + varint(7 << 3 | 2) + varint(size))
                out.writelines(pieces)
                out.write(block(8, block(1, "") + integer(2, OPSET)))
            os.replace(unfinished, path)
        finally:
            if os.path.exists(unfinished):
                os.remove(unfinished)
