"""Pictures of one coloured shape on a grey background, in numpy alone: the examples' pictures, and what the models in tests/weights are trained on.

A picture is an array [size, size, 3] of float32 in 0..1. Everything random comes from the numpy Generator that is passed in.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

import numpy as np

COLOURS = {
    "red": (220, 20, 20),
    "green": (20, 170, 30),
    "blue": (20, 40, 220),
    "yellow": (240, 220, 20),
    "white": (250, 250, 250),
    "black": (10, 10, 10),
}
SHAPES = ("square", "circle", "triangle")

# CLIP's normalisation (`_transform` in OpenAI's clip.py): mean and standard deviation of red, green and blue in 0..1.
CLIP_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
CLIP_STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


class Place(NamedTuple):
    """Where a shape lies, in pixels: its centre, and a radius that gives the three shapes about the same extent."""

    x: float
    y: float
    radius: float


class Light(NamedTuple):
    """What the light does to a picture: a factor for each colour channel, and how much brighter the right and lower edges are than the others."""

    channels: tuple[float, float, float] = (1.0, 1.0, 1.0)
    right: float = 0.0
    down: float = 0.0


def depth(shape: str, size: int, place: Place) -> np.ndarray:
    """How far each pixel lies inside the shape's edge (negative: outside), in pixels."""
    x = np.arange(size, dtype=np.float32)[None, :] - np.float32(place.x)
    y = np.arange(size, dtype=np.float32)[:, None] - np.float32(place.y)
    r = np.float32(place.radius)
    if shape == "circle":
        return r - np.sqrt(x * x + y * y)
    if shape == "square":
        return np.minimum(0.9 * r - np.abs(x), 0.9 * r - np.abs(y))
    # The triangle's tip is up; its base lies 0.8 r below the centre, and its sides go 0.6 pixels outwards for each pixel down.
    sides = (0.6 * (y + 0.9 * r) - np.abs(x)) / np.float32(np.hypot(0.6, 1.0))
    return np.minimum(sides, 0.8 * r - y)


def draw(colour: tuple, shape: str, size: int, place: Place, background: tuple, softness: float = 1.0, light: Light = Light()) -> np.ndarray:
    """One picture. The edge fades over `softness` pixels (0: hard); colours and background in 0..255."""
    inside = depth(shape, size, place)
    cover = np.clip(0.5 + inside / softness, 0, 1) if softness > 0 else (inside > 0).astype(np.float32)
    front, back = np.array(colour, np.float32) / 255, np.array(background, np.float32) / 255
    picture = back + cover[:, :, None].astype(np.float32) * (front - back)
    ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    field = 1 + light.right * ramp[None, :] + light.down * ramp[:, None]
    return picture * field[:, :, None].astype(np.float32) * np.array(light.channels, np.float32)


def finish(picture: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Adds noise and rounds to the 256 steps of a decoded picture."""
    return np.round(np.clip(picture + noise, 0, 1) * 255) / np.float32(255)


def random_place(random: np.random.Generator, size: int, smallest: float, largest: float) -> Place:
    """Anywhere in the picture, whole; the radii are parts of the picture's size."""
    radius = random.uniform(smallest, largest) * size
    x, y = random.uniform(radius + 0.01 * size, size - radius - 0.01 * size, 2)
    return Place(x, y, radius)


def random_grey(random: np.random.Generator, darkest: float, lightest: float) -> tuple:
    return tuple(random.uniform(darkest, lightest) + random.uniform(-12, 12, 3))


def random_light(random: np.random.Generator) -> Light:
    """From three quarters to five quarters of the light, a little warmer or colder, and a little uneven."""
    brightness = random.uniform(0.75, 1.25)
    channels = tuple(brightness * random.uniform(0.95, 1.05, 3))
    return Light(channels, *random.uniform(-0.2, 0.2, 2))


def near(random: np.random.Generator, colour: tuple) -> tuple:
    """The colour, ten steps more or less in each channel."""
    return tuple(np.array(colour) + random.uniform(-10, 10, 3))


def as_bytes(picture: np.ndarray) -> np.ndarray:
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def write_png(path: str, picture: np.ndarray) -> None:
    """8-bit RGB, every row as it is (filter 0)."""
    rows = as_bytes(picture)
    height, width = rows.shape[:2]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    content = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    with open(path, "wb") as out:
        out.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(content, 9)) + chunk(b"IEND", b""))


def write_ppm(path: str, picture: np.ndarray) -> None:
    rows = as_bytes(picture)
    with open(path, "wb") as out:
        out.write(b"P6\n%d %d\n255\n" % (rows.shape[1], rows.shape[0]) + rows.tobytes())
