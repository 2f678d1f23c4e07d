"""Random tensors from a name, as the bytes of a GGUF file: the same on every machine, and fast without NumPy.

The bits come from SHAKE-128 of the name. A value is a float16: its high byte (sign, exponent, two bits of the mantissa) is looked up in a table of the
normal distribution's quantiles, its low byte is random. So no arithmetic on floats decides a bit of the result.
"""

from __future__ import annotations

import hashlib
import math
import statistics
import struct
from typing import Callable, Sequence

from gguf_writer import Tensor

# Of a block of q4_0: the levels -7 … 7 alike, zero twice as often.
Q4_0_DEVIATION = math.sqrt(2 * sum(level * level for level in range(1, 8)) / 16)


def random_bytes(name: str, count: int) -> bytes:
    return hashlib.shake_128(name.encode()).digest(count)


def normal_table(deviation: float) -> bytes:
    """High bytes of float16 by quantile."""
    normal = statistics.NormalDist()
    return bytes(struct.pack("<e", deviation * normal.inv_cdf((i + 0.5) / 256))[1] for i in range(256))


def normal_f16(name: str, count: int, deviation: float) -> bytes:
    data = bytearray(random_bytes(name, 2 * count))
    data[1::2] = data[1::2].translate(normal_table(deviation))
    return bytes(data)


def widened(data: bytes, mean: float) -> bytes:
    """float16 to float32, with a mean."""
    count = len(data) // 2
    return struct.pack(f"<{count}f", *(mean + value for value in struct.unpack(f"<{count}e", data)))


def normal_q4_0(name: str, count: int, deviation: float) -> bytes:
    """Uniform over the levels, in blocks of 32."""
    levels = [8 if nibble == 0 else nibble for nibble in range(16)]
    table = bytes(levels[i & 15] | levels[i >> 4] << 4 for i in range(256))
    nibbles = random_bytes(name, count // 2).translate(table)
    scale = struct.pack("<e", deviation / Q4_0_DEVIATION)
    return b"".join(scale + nibbles[i : i + 16] for i in range(0, len(nibbles), 16))


class Maker:
    """Makes one model's tensors, each from the seed and its own name."""

    def __init__(self, seed: str) -> None:
        self.seed = seed
        self.tensors: list[Tensor] = []

    def add(self, name: str, shape: Sequence[int], type_name: str, data: Callable[[], bytes]) -> None:
        self.tensors.append(Tensor(name, shape, type_name, lambda: [data()]))

    def matrix(self, name: str, shape: Sequence[int], gain: float = 1.0, type_name: str = "f32") -> None:
        """Rows of unit length times `gain`, so that what goes in and what comes out are of one size."""
        count, deviation, seeded = math.prod(shape), gain / math.sqrt(shape[-1]), f"{self.seed}/{name}"
        makers = {
            "f32": lambda: widened(normal_f16(seeded, count, deviation), 0.0),
            "f16": lambda: normal_f16(seeded, count, deviation),
            "q4_0": lambda: normal_q4_0(seeded, count, deviation),
        }
        self.add(name, shape, type_name, makers[type_name])

    def vector(self, name: str, count: int, deviation: float, mean: float = 0.0) -> None:
        """A bias, or with mean 1 the weights of a norm."""
        self.add(name, [count], "f32", lambda: widened(normal_f16(f"{self.seed}/{name}", count, deviation), mean))

    def rows(self, name: str, count: int, width: int, kept: Sequence[int]) -> None:
        """An output matrix all of whose rows are zero but the kept ones: the others' tokens are never the likeliest."""

        def data() -> bytes:
            values = widened(normal_f16(f"{self.seed}/{name}", len(kept) * width, 1.0), 0.0)
            out = bytearray(4 * count * width)
            for i, row in enumerate(kept):
                out[4 * row * width : 4 * (row + 1) * width] = values[4 * i * width : 4 * (i + 1) * width]
            return bytes(out)

        self.add(name, [count, width], "f32", data)
