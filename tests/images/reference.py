#!/usr/bin/env python3
"""Writes tests/images/reference: little pictures in every form that libcadre-images reads, and what Pillow, numpy and transformers make of them.

    python3 -m venv venv
    venv/bin/pip install pillow==12.3.0 numpy==2.4.6
    venv/bin/pip install --no-deps transformers==4.46.3 tokenizers==0.20.3 huggingface-hub==0.26.5 safetensors pyyaml regex requests tqdm packaging \\
        filelock fsspec typing_extensions urllib3 idna certifi charset-normalizer
    venv/bin/python tests/images/reference.py          (also needs cjpeg: Debian's libjpeg-turbo-progs)

  files/       the pictures
  decode.txt   file, option, width, height, CRC-32 of the RGB pixels. Options: "-"; "stored" (orientation ignored); "bgRRGGBB" (the background)
  refused.txt  file, and words of the reason
  tensors.txt  width, height, size, CRC-32 of the float32 tensor; the pictures are made by pattern(), in the test as here
  clip.txt     file, size, tensor file: float vectors of some of the pictures, in tensors/

Where a pixel does not come from Pillow's convert("RGB"), the formula stands in expected()."""

import io
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from transformers.models.clip.image_processing_clip import CLIPImageProcessor

warnings.simplefilter("ignore")
FOLDER = Path(__file__).resolve().parent / "reference"
FILES = FOLDER / "files"
WIDTH, HEIGHT = 23, 17


# ---- pixels ----


def pattern(width, height, channels=3):
    """What the test makes too: v(x, y, c)."""
    y, x, c = np.meshgrid(np.arange(height, dtype=np.uint32), np.arange(width, dtype=np.uint32), np.arange(channels, dtype=np.uint32), indexing="ij")
    return ((x * 7 + y * 13 + c * 50) ^ (x * y >> 2)).astype(np.uint8)


def smooth(width, height):
    """No two of its orientations are alike, and JPEG does little to it."""
    y, x = np.mgrid[0:height, 0:width]
    return np.dstack([x * 255 // (width - 1), y * 255 // (height - 1), (x + y) * 255 // (width + height - 2)]).astype(np.uint8)


# ---- PNG, by hand: Pillow writes neither interlaced ones nor 16-bit colours ----


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pack_row(row, depth):
    """Samples of one row (any number of channels, flat) to bytes."""
    if depth == 16:
        return row.astype(">u2").tobytes()
    if depth == 8:
        return row.astype(np.uint8).tobytes()
    bits = ((row[:, None] >> np.arange(depth - 1, -1, -1)) & 1).astype(np.uint8).ravel()
    return np.packbits(bits).tobytes()


def scanlines(samples, depth):
    """Rows with filters 0 to 4 by turns."""
    height, width, channels = samples.shape
    step = max(1, channels * depth // 8)
    out, before = b"", None
    for y in range(height):
        row = np.frombuffer(pack_row(samples[y].reshape(-1), depth), np.uint8).astype(int)
        up = np.zeros_like(row) if before is None else before
        left = np.concatenate([np.zeros(step, int), row[:-step]]) if len(row) > step else np.zeros_like(row)
        corner = np.concatenate([np.zeros(step, int), up[:-step]]) if len(row) > step else np.zeros_like(row)
        p = left + up - corner
        pa, pb, pc = abs(p - left), abs(p - up), abs(p - corner)
        paeth = np.where((pa <= pb) & (pa <= pc), left, np.where(pb <= pc, up, corner))
        kind = y % 5
        out += bytes([kind]) + ((row - [0, left, up, (left + up) // 2, paeth][kind]) & 255).astype(np.uint8).tobytes()
        before = row
    return out


def png(samples, depth, colour, interlace=False, before=(), after=(), split=1 << 20):
    """samples: height × width × channels, of `depth` bits. before, after: chunks around the IDAT chunks."""
    height, width, _ = samples.shape
    if interlace:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
        raw = b"".join(scanlines(samples[y::dy, x::dx], depth) for x, y, dx, dy in passes if samples[y::dy, x::dx].size)
    else:
        raw = scanlines(samples, depth)
    data = zlib.compress(raw, 9)
    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlace)))
    out += b"".join(before) + b"".join(chunk(b"IDAT", data[i : i + split]) for i in range(0, len(data), split)) + b"".join(after) + chunk(b"IEND", b"")
    return out


def exif(value, little, kind=3):
    """A TIFF file with an orientation (and a tag before it)."""
    order = "<" if little else ">"
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, value, 0) if kind == 3 else struct.pack(order + "HHII", 0x0112, kind, 1, value)
    width = struct.pack(order + "HHIHH", 0x0100, 3, 1, 5, 0)
    return (b"II" if little else b"MM") + struct.pack(order + "HIH", 42, 8, 2) + width + entry + bytes(4)


GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6


def png_files():
    deep = (np.arange(HEIGHT * WIDTH * 4, dtype=np.uint32) * 40503 % 65536).reshape(HEIGHT, WIDTH, 4)
    eight = deep >> 8
    colours = (np.arange(48, dtype=np.uint32) * 73 % 256).astype(np.uint8)
    out = {}
    for interlace in (False, True):
        kind = "-interlaced" if interlace else ""
        for depth in (1, 2, 4, 8, 16):
            out[f"gray{depth}{kind}"] = png(deep[..., :1] >> (16 - depth), depth, GRAY, interlace)
            if depth < 16:
                palette = colours[: 3 << min(depth, 4)].tobytes()
                trns = chunk(b"tRNS", bytes([0, 128, 255, 3][: min(4, 1 << depth)]))
                index = (deep[..., :1] >> (16 - min(depth, 4)))
                out[f"palette{depth}{kind}"] = png(index, depth, PALETTE, interlace, [chunk(b"PLTE", palette)])
                out[f"palette{depth}-trns{kind}"] = png(index, depth, PALETTE, interlace, [chunk(b"PLTE", palette), trns])
        for depth, samples in ((8, eight), (16, deep)):
            out[f"rgb{depth}{kind}"] = png(samples[..., :3], depth, RGB, interlace)
            out[f"rgba{depth}{kind}"] = png(samples, depth, RGBA, interlace)
            out[f"la{depth}{kind}"] = png(samples[..., :2], depth, GRAY_ALPHA, interlace)
    first = eight[5, 7, :3]
    out["rgb8-trns"] = png(eight[..., :3], 8, RGB, before=[chunk(b"tRNS", struct.pack(">HHH", *map(int, first)))])
    out["rgb16-trns"] = png(deep[..., :3], 16, RGB, before=[chunk(b"tRNS", struct.pack(">HHH", *map(int, deep[5, 7, :3])))])
    out["gray4-trns"] = png(deep[..., :1] >> 12, 4, GRAY, before=[chunk(b"tRNS", struct.pack(">H", 9))])
    out["parts"] = png(eight[..., :3], 8, RGB, split=50)
    out["one"] = png(eight[:1, :1, :3], 8, RGB)
    odd = [chunk(b"iCCP", b"no profile"), chunk(b"tEXt", b" odd \0text"), chunk(b"gAMA", bytes(4)), chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(100000)))]
    out["odd-chunks"] = png(eight[..., :3], 8, RGB, before=odd, after=[chunk(b"teSt", b"1234")])
    frame = struct.pack(">IIIIIHHBB", 0, WIDTH, HEIGHT, 0, 0, 1, 10, 0, 0)
    second = zlib.compress(scanlines(255 - eight[..., :3], 8), 9)
    later = [chunk(b"fcTL", struct.pack(">IIIIIHHBB", 1, WIDTH, HEIGHT, 0, 0, 1, 10, 0, 0)), chunk(b"fdAT", struct.pack(">I", 2) + second)]
    out["animated"] = png(eight[..., :3], 8, RGB, before=[chunk(b"acTL", struct.pack(">II", 2, 0)), chunk(b"fcTL", frame)], after=later)
    plain = smooth(WIDTH, HEIGHT).astype(np.uint32)
    for value in range(1, 9):
        block = chunk(b"eXIf", exif(value, value % 2 == 0))
        out[f"exif{value}"] = png(plain, 8, RGB, before=[block] if value < 5 else [], after=[block] if value >= 5 else [])
    damaged = {"cut": exif(6, True)[:20], "order": b"XX" + exif(6, True)[2:], "far": b"II*\0\xff\xff\xff\xff", "value": exif(9, False), "type": exif(6, False, 7),
               "empty": b"", "count": b"MM\0*\0\0\0\x08\xff\xff"}
    for name, block in damaged.items():
        out[f"exif-{name}"] = png(plain, 8, RGB, before=[chunk(b"eXIf", block)])
    out["exif-long"] = png(plain, 8, RGB, before=[chunk(b"eXIf", exif(6, True, 4))])
    return {f"{name}.png": data for name, data in out.items()}


# ---- JPEG ----


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def cjpeg(image, *arguments):
    return subprocess.run(["cjpeg", *arguments], input=saved(image, "PPM"), stdout=subprocess.PIPE, check=True).stdout


def without(data, marker):
    """Removes the segments of a kind."""
    at, out = 2, data[:2]
    while data[at + 1] != 0xDA:
        end = at + 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
        if data[at + 1] != marker:
            out += data[at:end]
        at = end
    return out + data[at:]


def jpeg_files():
    image = Image.fromarray(smooth(WIDTH, HEIGHT))
    busy = Image.fromarray(pattern(37, 29))
    cmyk = Image.fromarray(np.dstack([pattern(WIDTH, HEIGHT), smooth(WIDTH, HEIGHT)[..., 0]]), "CMYK")
    out = {
        "444": saved(busy, "JPEG", quality=90, subsampling=0), "422": saved(busy, "JPEG", quality=75, subsampling=1),
        "420": saved(busy, "JPEG", quality=75, subsampling=2), "progressive": saved(busy, "JPEG", quality=80, progressive=True),
        "gray": saved(busy.convert("L"), "JPEG"), "rgb": saved(busy, "JPEG", keep_rgb=True), "cmyk": saved(cmyk, "JPEG", quality=90),
        "restart": saved(busy, "JPEG", restart_marker_blocks=2), "arithmetic": cjpeg(busy, "-arithmetic"),
        "gray-progressive": saved(busy.convert("L"), "JPEG", progressive=True), "one": saved(busy.crop((0, 0, 1, 1)), "JPEG"),
    }
    adobe = out["cmyk"].index(b"Adobe")
    out["ycck"] = out["cmyk"][: adobe + 11] + b"\x02" + out["cmyk"][adobe + 12 :]
    out["cmyk-plain"] = without(out["cmyk"], 0xEE)
    for value in range(1, 9):
        out[f"exif{value}"] = saved(image, "JPEG", quality=60, exif=b"Exif\0\0" + exif(value, value % 2 == 1))
    out["exif-cut"] = saved(image, "JPEG", quality=60, exif=b"Exif\0\0" + exif(6, True)[:12])
    out["trailing"] = out["420"] + b"what comes after the end is not looked at"
    return {f"{name}.jpg": data for name, data in out.items()}


# ---- WebP ----


def riff(*chunks):
    body = b"".join(kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def webp_chunks(data):
    at, out = 12, []
    while at < len(data):
        size = struct.unpack("<I", data[at + 4 : at + 8])[0]
        out.append((data[at : at + 4], data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return out


def u24(value):
    return struct.pack("<I", value)[:3]


def extended(flags, width, height):
    return b"VP8X", bytes([flags, 0, 0, 0]) + u24(width - 1) + u24(height - 1)


def frame_chunk(still, x, y, width, height, flags=0):
    """An ANMF chunk of a still file's picture."""
    body = u24(x // 2) + u24(y // 2) + u24(width - 1) + u24(height - 1) + u24(100) + bytes([flags])
    for kind, data in webp_chunks(still):
        if kind in (b"VP8 ", b"VP8L", b"ALPH"):
            body += kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
    return b"ANMF", body


def webp_files():
    busy = pattern(37, 29)
    alpha = np.dstack([busy, smooth(37, 29)[..., 2]])
    plain = Image.fromarray(smooth(WIDTH, HEIGHT))
    image, clear = Image.fromarray(busy), Image.fromarray(alpha)
    out = {
        "lossy": saved(image, "WEBP", quality=70), "lossless": saved(image, "WEBP", lossless=True), "lossy-alpha": saved(clear, "WEBP", quality=70),
        "lossless-alpha": saved(clear, "WEBP", lossless=True, exact=True),
        "animated": saved(clear, "WEBP", save_all=True, append_images=[Image.fromarray(255 - alpha)], lossless=True, exact=True),
        "animated-lossy": saved(clear, "WEBP", save_all=True, append_images=[Image.fromarray(255 - alpha)], quality=50),
    }
    part = saved(clear.crop((0, 0, 21, 15)), "WEBP", lossless=True, exact=True)
    opaque = saved(image.crop((0, 0, 21, 15)), "WEBP", lossless=True)
    whole = saved(clear, "WEBP", lossless=True, exact=True)
    for name, still, flags in (("animated-part", part, 0x12), ("animated-part-opaque", opaque, 0x02)):
        out[name] = riff(extended(flags, 37, 29), (b"ANIM", bytes([255, 255, 255, 255, 0, 0])), frame_chunk(still, 10, 6, 21, 15, 2),
                         frame_chunk(whole, 0, 0, 37, 29))
    for value in range(1, 9):
        prefix = b"Exif\0\0" if value % 3 == 0 else b""
        (picture,) = [c for c in webp_chunks(saved(plain, "WEBP", lossless=True)) if c[0] == b"VP8L"]
        out[f"exif{value}"] = riff(extended(0x08, WIDTH, HEIGHT), picture, (b"EXIF", prefix + exif(value, value % 2 == 0)))
    noise = np.random.default_rng(7).integers(0, 256, (76, 76, 3), dtype=np.uint8)
    out["noise"] = saved(Image.fromarray(noise), "WEBP", lossless=True)  # more than one slice
    out["trailing"] = out["lossless"] + b"what comes after the end is not looked at"
    return {f"{name}.webp": data for name, data in out.items()}


# ---- what is expected ----


def pixels_of(name, image):
    """height × width × 3, as they are stored, alpha dropped."""
    if image.mode.startswith("I;16"):  # 16-bit gray: its upper 8 bits (Pillow's own conversion cuts it off at 255)
        upper = (np.array(image).astype(np.uint32) >> 8).astype(np.uint8)
        return np.dstack([upper] * 3)
    if name == "cmyk-plain.jpg":  # without Adobe's marker the values are ink, not 255 − ink; Pillow takes all for the latter
        image = Image.fromarray(255 - np.array(image), "CMYK")
    return np.array(image.convert("RGB"))


def over(name, image, background):
    """Straight alpha over the background, rounded to the nearest. What the first frame of an animation does not cover is transparent."""
    if name == "rgb16-trns.png":  # Pillow compares the upper bits with the key
        alpha = np.full((HEIGHT, WIDTH), 255)
        alpha[5, 7] = 0
    elif name == "gray4-trns.png":  # Pillow compares the key, of 4 bits, with pixels of 8
        alpha = np.where(np.array(image.convert("L")) == 9 * 17, 0, 255)
    elif name == "animated-part-opaque.webp":
        alpha = np.zeros((29, 37))
        alpha[6:21, 10:31] = 255
    else:
        alpha = np.array(image.convert("RGBA"))[..., 3]
    rgb, alpha = pixels_of(name, image).astype(np.uint32), alpha.astype(np.uint32)[..., None]
    return ((rgb * alpha + np.array(background, np.uint32) * (255 - alpha) + 127) // 255).astype(np.uint8)


def expected(name, data):
    """Lines of decode.txt."""
    image = Image.open(io.BytesIO(data))
    image.load()
    damaged = name.startswith("exif-") and name != "exif-long.png"  # what is damaged is ignored; Pillow raises an error at some
    orientation = 1 if damaged else image.getexif().get(0x0112, 1)
    results = [("stored", pixels_of(name, image))]
    turned = ImageOps.exif_transpose(image) if orientation != 1 else image
    results.append(("-", pixels_of(name, turned)))
    if "exif" not in name:
        results.append(("bg2040ff", over(name, image, (0x20, 0x40, 0xFF))))
    for option, rgb in results:
        yield f"{name} {option} {rgb.shape[1]} {rgb.shape[0]} {zlib.crc32(rgb.tobytes()):08x}"


def refused(files):
    busy = Image.fromarray(pattern(37, 29))
    scans = FOLDER / "scans.txt"
    scans.write_text("0;\n1;\n2;\n")
    three = cjpeg(busy.crop((0, 0, 8, 8)), "-scans", str(scans))
    scans.unlink()
    begin = three.index(b"\xff\xda")
    second = three.index(b"\xff\xda", begin + 2)
    sixteen = files["rgb16.png"]
    good = files["rgb8.png"]
    lossy = files["lossy.webp"]
    return {
        "scans.jpg": (three[:second] + three[begin:second] * 150 + three[second:], "more than 100 scans"),
        "gray-and-noise.jpg": (files["gray.jpg"][:-60] + files["gray.jpg"][-40:], "JPEG"),
        "checksum.png": (good[:50] + bytes([good[50] ^ 1]) + good[51:], "checksum of the PNG chunk IDAT"),
        "critical.png": (sixteen[:33] + chunk(b"ABCD", b"") + sixteen[33:], "PNG"),
        "no-pixels.png": (good[:33] + chunk(b"IEND", b""), "PNG"),
        "short.png": (good[:33] + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b""), "PNG"),
        "no-palette.png": (png(np.zeros((2, 2, 1), np.uint32), 8, PALETTE), "PNG"),
        "depth.png": (png(np.zeros((2, 2, 3), np.uint32), 4, RGB), "PNG"),
        "no-frame.webp": (riff(extended(2, 37, 29), (b"ANIM", bytes(6))), "no frame"),
        "outside.webp": (riff(extended(2, 37, 29), frame_chunk(lossy, 2, 0, 37, 29)), "within the canvas"),
        "other-size.webp": (riff(extended(2, 37, 29), frame_chunk(lossy, 0, 0, 36, 29)), "in its own header"),
        "canvas.webp": (riff(extended(0, 36, 29), *webp_chunks(lossy)), "WebP"),
        "chunk.webp": (lossy[:16] + b"\xff\xff\xff\x7f" + lossy[20:], "does not end within"),
    }


def tensor(image, size):
    """Pillow filters the rows first and then the columns; of tall pictures some versions do the columns first (from 12.2 on where the height is more than
    100 times the width, from 13 on from about twice on). Here each pass is made on its own, so that the order is the same for all; where it is not in doubt,
    transformers must agree by itself."""
    processor = CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})

    def process(picture, **options):
        return processor(picture, input_data_format="channels_last", return_tensors="np", **options)["pixel_values"][0].astype("<f4")

    shorter = min(image.size)
    width, height = (int(size * side / shorter) for side in image.size)
    rows = image.resize((width, image.height), Image.BICUBIC)
    result = process(rows.resize((width, height), Image.BICUBIC), do_resize=False)
    if image.height <= 2 * image.width and not np.array_equal(result, process(image)):
        raise ValueError("the passes' order is another")
    return result


SIZES = [(224, 224), (225, 224), (640, 480), (480, 641), (37, 53), (1, 1), (1, 300), (300, 1), (30, 5000), (5000, 30), (1000, 7), (300, 2200), (1024, 768)]


def main():
    FILES.mkdir(parents=True, exist_ok=True)
    (FOLDER / "tensors").mkdir(exist_ok=True)
    for old in [*FILES.iterdir(), *(FOLDER / "tensors").iterdir()]:
        old.unlink()
    files = {**png_files(), **jpeg_files(), **webp_files()}
    files["extraneous.jpg"] = files["420.jpg"][:-2] + b"no entropy-coded data " * 4 + b"\xff\xd9"
    lines = []
    for name, data in sorted(files.items()):
        (FILES / name).write_bytes(data)
        # Pillow refuses the odd chunks, which are no part of the picture.
        lines += expected(name, files["rgb8.png"] if name == "odd-chunks.png" else data)
    (FOLDER / "decode.txt").write_text("\n".join(lines) + "\n")

    bad = refused(files)
    for name, (data, _) in bad.items():
        (FILES / name).write_bytes(data)
    (FOLDER / "refused.txt").write_text("".join(f"{name} {words}\n" for name, (_, words) in sorted(bad.items())))

    lines = []
    for width, height in SIZES:
        for size in (16, 224, 336):
            if size * max(width, height) // min(width, height) > 70000:
                continue  # transformers makes the whole picture
            values = tensor(Image.fromarray(pattern(width, height)), size)
            lines.append(f"{width} {height} {size} {zlib.crc32(values.tobytes()):08x}")
    (FOLDER / "tensors.txt").write_text("\n".join(lines) + "\n")

    lines = []
    for name, size in (("444.jpg", 16), ("420.jpg", 8), ("lossless.webp", 16), ("lossy.webp", 10), ("rgb8.png", 16), ("gray8.png", 7), ("exif6.png", 16),
                       ("palette4.png", 5), ("rgba8.png", 40), ("one.png", 3)):
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(files[name]))).convert("RGB")
        stored = f"{name}.{size}.f32"
        (FOLDER / "tensors" / stored).write_bytes(tensor(image, size).tobytes())
        lines.append(f"{name} {size} {stored}")
    (FOLDER / "clip.txt").write_text("\n".join(lines) + "\n")
    total = sum(f.stat().st_size for f in FOLDER.rglob("*") if f.is_file())
    print(f"{len(files)} pictures, {len(bad)} refused ones, {total} bytes in all; Pillow {Image.__version__}, numpy {np.__version__}")


if __name__ == "__main__":
    sys.exit(main())
