#!/usr/bin/env python3
"""usage: pillow.py CONVERT: pictures made at random by Pillow, in all formats and modes, through images_convert, and read again by Pillow: the pixels must be
those that Pillow itself finds in the file. Status 77 without Pillow. The seed is printed; CADRE_TEST_SEED sets it."""

import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    from PIL import Image, ImageOps, features
except ImportError:
    print("Pillow is not there")
    sys.exit(77)

COUNT = 150


def picture(chance, mode):
    width, height = chance.randint(1, 90), chance.randint(1, 90)
    small = Image.frombytes("RGBA", (5, 5), chance.randbytes(100)).resize((width, height), Image.BICUBIC)
    noise = Image.frombytes("RGBA", (width, height), chance.randbytes(width * height * 4))
    mixed = Image.blend(small, noise, chance.choice([0, 0.1, 1]))
    if mode == "CMYK":
        return Image.frombytes("CMYK", mixed.size, mixed.tobytes())
    if mode == "P":
        return mixed.convert("RGB").quantize(chance.choice([2, 4, 16, 256]))
    return mixed.convert(mode)


def save(chance, folder, number):
    kind = chance.choice(["png", "jpg", "webp"] if features.check("webp") else ["png", "jpg"])
    modes = {"png": ["1", "L", "LA", "P", "RGB", "RGBA"], "jpg": ["L", "RGB", "CMYK"], "webp": ["RGB", "RGBA"]}
    image = picture(chance, chance.choice(modes[kind]))
    path = folder / f"{number}.{kind}"
    options = {}
    if kind == "jpg":
        options = {"quality": chance.randint(1, 100), "progressive": chance.random() < 0.4, "optimize": chance.random() < 0.3}
        if image.mode == "RGB":
            options["subsampling"] = chance.randint(0, 2)
    if kind == "webp":
        options = {"lossless": chance.random() < 0.5, "quality": chance.randint(0, 100), "exact": chance.random() < 0.5}
    if chance.random() < 0.5:
        exif = Image.Exif()
        exif[0x0112] = chance.randint(1, 8)
        options["exif"] = exif.tobytes()
    image.save(path, **options)
    return path


def main():
    seed = int(os.environ.get("CADRE_TEST_SEED") or random.randrange(1 << 32))
    chance = random.Random(seed)
    print(f"seed {seed}, Pillow {Image.__version__ if hasattr(Image, '__version__') else ''}")
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [save(chance, folder, i) for i in range(COUNT)]
        pairs = [str(p) for path in paths for p in (path, path.with_suffix(".out.png"))]
        subprocess.run([sys.argv[1], *pairs], check=True)
        for path in paths:
            image = Image.open(path)
            before = image.mode, image.size
            expected = ImageOps.exif_transpose(image).convert("RGB")
            got = Image.open(path.with_suffix(".out.png"))
            if got.mode != "RGB" or got.size != expected.size or got.tobytes() != expected.tobytes():
                print(f"{path.name}: {before}: other pixels")
                wrong += 1
    print(f"{COUNT} pictures, {wrong} of them wrong")
    return wrong != 0


if __name__ == "__main__":
    sys.exit(main())
