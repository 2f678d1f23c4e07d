"""Random numbers for weights that are only there to be multiplied: fast, with Python's standard library alone, the same on every machine.

A block of normal deviates is made once and repeated; its length is a prime, so that no two rows of a matrix are alike.
"""

from __future__ import annotations

import random
import struct
from typing import Iterator

BLOCK = 65521


class Noise:
    def __init__(self, seed: int) -> None:
        source = random.Random(seed)
        self.block = [max(-4.0, min(4.0, source.gauss(0, 1))) for _ in range(BLOCK)]
        self.packed: dict[tuple[str, float, float], bytes] = {}
        self.at = 0

    def pieces(self, letter: str, count: int, deviation: float, mean: float = 0.0) -> Iterator[bytes]:
        """`count` numbers of struct's type `letter` ("e" f16, "f" f32), as pieces of bytes."""
        width = struct.calcsize("<" + letter)
        data = self.packed.get((letter, deviation, mean))
        if data is None:
            data = struct.pack(f"<{BLOCK}{letter}", *(mean + deviation * value for value in self.block))
            self.packed[letter, deviation, mean] = data
        while count > 0:
            taken = min(count, BLOCK - self.at)
            yield data[self.at * width : (self.at + taken) * width]
            self.at = (self.at + taken) % BLOCK
            count -= taken
