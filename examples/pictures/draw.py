#!/usr/bin/env python3
"""Draws the pictures of this folder: one coloured shape each on a grey background, which the models in tests/weights know.

    draw.py [FOLDER]       writes them into FOLDER (default: this one)

PNG needs numpy alone. JPEG and WebP are written by Pillow, whose bytes differ between versions of its codecs: the committed ones come from Debian 12's
python3-pil 9.4 (libjpeg-turbo 2.1.5, libwebp 1.2.4).
"""

import os
import sys

import numpy as np
import shapes
from shapes import Light, Place

GREY = (128, 128, 128)
WARM, COLD = (140, 130, 120), (118, 126, 136)
DIM, BRIGHT = Light((0.8, 0.8, 0.8)), Light((1.15, 1.15, 1.15))

# name, colour, shape, size of the canvas, place, background, light, rows that are kept
PICTURES = [
    ("red-circle.png", "red", "circle", 224, Place(112, 112, 60), GREY, Light(), None),
    ("red-circle-elsewhere.png", "red", "circle", 224, Place(70, 148, 46), COLD, DIM, None),
    ("red-square.png", "red", "square", 224, Place(120, 104, 62), GREY, Light(), None),
    ("blue-circle.png", "blue", "circle", 224, Place(126, 100, 58), WARM, Light(), None),
    ("blue-square.jpg", "blue", "square", 224, Place(104, 118, 66), GREY, Light(), None),
    ("green-triangle.webp", "green", "triangle", 224, Place(112, 116, 74), WARM, Light(), None),
    ("yellow-square-wide.png", "yellow", "square", 320, Place(160, 160, 78), COLD, BRIGHT, (40, 280)),
    ("black-triangle-56.png", "black", "triangle", 56, Place(28, 29, 19), GREY, Light(), None),
]


def draw(colour: str, shape: str, size: int, place: Place, background: tuple, light: Light, rows: tuple) -> np.ndarray:
    picture = shapes.draw(shapes.COLOURS[colour], shape, size, place, background, light=light)
    return picture[slice(*rows)] if rows else picture


def write(path: str, picture: np.ndarray) -> None:
    if path.endswith(".png"):
        shapes.write_png(path, picture)
        return
    from PIL import Image

    options = {"quality": 90} if path.endswith(".jpg") else {"quality": 90, "method": 6}
    Image.fromarray(shapes.as_bytes(picture)).save(path, **options)


def main() -> int:
    if len(sys.argv) > 2 or sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__.strip())
        return 0 if len(sys.argv) == 2 else 1
    folder = sys.argv[1] if len(sys.argv) == 2 else os.path.dirname(os.path.abspath(__file__))
    for name, *what in PICTURES:
        write(os.path.join(folder, name), draw(*what))
    return 0


if __name__ == "__main__":
    sys.exit(main())
