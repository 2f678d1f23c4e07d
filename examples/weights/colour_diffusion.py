#!/usr/bin/env python3
"""Makes FLUX and Stable Diffusion 3.5 models that paint the colour which the prompt names, small enough for tests.

    colour_diffusion.py FOLDER

writes clip-l-colour.gguf, flux-colour.gguf, sd35-colour.gguf and taesd-colour.safetensors into FOLDER, for stable-diffusion.cpp. Nothing is trained or
random: every weight follows from the formulas below. Python's standard library is enough, and the bytes are the same everywhere. The files have the shapes
that the engine's code fixes (CLIP-L in full size, one double and one single block of FLUX, two joint blocks of SD 3.5), and are mostly zeros, which take no
room on a disk that can leave them out.

CLIP-L (Radford et al. 2021; 12 blocks of pre-norm attention and MLP, width 768, a vocabulary of 49,408 tokens). A colour's token has the flag COLOUR and a
dimension of its own; the end-of-text token has the flag END; every other token and every position is 0. In the first block the query reads END and the key
reads COLOUR, so the end of the text attends to the colour words alone, wherever they stand; the value copies their dimensions. All else is 0, so the pooled
output, the final norm of the end-of-text token, holds how much of each colour the prompt names; nothing if it names none, and a mixture of several.

FLUX (Black Forest Labs, flux/model.py) and SD 3.5 (Esser et al. 2024, "Scaling Rectified Flow Transformers") predict the velocity noise - picture of a
straight path between them. Here it is x / rms(x) - latent: the input embedding writes x and -x, so that the final layer norm, whose mean is then 0, divides
by rms(x), and the final shift is -latent of the prompt's colour, by way of vector_in (FLUX) or y_embedder (SD 3.5). The gates of the blocks are 0: they are
computed and add nothing. A picture is the colour with a fine grain, which is what a few steps leave of the noise: it depends on the seed.

TAESD (madebyollin/taesd, 16 latent channels, which FLUX and SD 3 share) decodes latent channels 0..2 as red, green and blue: 1/2 + tanh(z / 3) / 2, plus a
little of channel 3, so that the grain shows in a colour that guidance has driven to its limit too.
"""

import argparse
import json
import math
import os
import struct
import sys
from typing import Callable, Iterator, Union

from gguf_writer import STRING, TENSOR_TYPES, UINT32, Metadata, Piece, Tensor, write_gguf

# The colours, in 0..255, with the tokens of the words for them in CLIP's vocabulary (bpe_simple_vocab_16e6; a word's number is 512 + its line there).
COLOURS = {
    "red": ((220, 30, 30), {"red": 736, "crimson": 19437, "scarlet": 20389}),
    "green": ((30, 170, 40), {"green": 1901}),
    "blue": ((30, 50, 220), {"blue": 1746}),
    "yellow": ((240, 220, 30), {"yellow": 4481}),
    "white": ((245, 245, 245), {"white": 1579}),
    "black": ((15, 15, 15), {"black": 1449}),
    "orange": ((245, 140, 20), {"orange": 4287}),
    "purple": ((130, 30, 160), {"purple": 5496, "violet": 16118}),
    "pink": ((245, 130, 180), {"pink": 3360}),
    "brown": ((120, 70, 30), {"brown": 2866}),
    "turquoise": ((40, 200, 200), {"turquoise": 19899, "teal": 22821}),
    "grey": ((128, 128, 128), {"grey": 5046, "gray": 7048}),
}
END_OF_TEXT = 49407

# CLIP-L.
VOCABULARY, POSITIONS, WIDTH, MLP, BLOCKS, HEAD = 49408, 77, 768, 3072, 12, 64
# Dimensions of its stream, in pairs of one that goes up and one that goes down, so that the mean is 0: 8 pairs for each flag, then a pair for each colour
# as it is read, then a pair for each as it is written.
FLAG_PAIRS = 8
END, COLOUR, READ, WRITTEN = 0, 2 * FLAG_PAIRS, 4 * FLAG_PAIRS, 4 * FLAG_PAIRS + 2 * len(COLOURS)
# How far the end of the text prefers a colour word to any other word, in units of attention's exponent.
PREFERENCE = 40.0
# How large a colour is written beside the flags, which are 1.
STRENGTH = 8.0

# FLUX and SD 3.5.
HIDDEN, PATCH_VALUES, LATENTS = 128, 64, 16
CONTEXT, TIME = 4096, 256
CLIP_G = 1280
POSITION_GRID = 192 * 192
# What the colour unit's activation is before the first SiLU when the prompt names that colour alone.
ACTIVATION = 6.0
# The latent is asked for a little stronger, since a few steps end before the path does.
BOOST = 1.15
# How much of the fourth latent channel is seen.
GRAIN = 0.1

Rows = dict[int, dict[int, float]]


# Matrices out of a few numbers


def sparse_f16(rows: int, columns: int, values: Rows) -> Iterator[Piece]:
    for row in range(rows):
        if row in values:
            yield b"".join(struct.pack("<e", values[row].get(column, 0.0)) for column in range(columns))
        else:
            yield 2 * columns


def sparse_q4_0(rows: int, columns: int, values: Rows) -> Iterator[Piece]:
    """Blocks of 32: an f16 scale, then 4 bits each, 8 for 0; the first half of a block is in the low bits. In a row all values that are not 0 must have one
    magnitude, which is the scale, so that nothing is lost but the scale's own rounding."""
    row_bytes = TENSOR_TYPES["q4_0"].size(columns)
    for row in range(rows):
        if row not in values:
            yield row_bytes
            continue
        scale = max(abs(value) for value in values[row].values())
        steps = [8 + round(values[row].get(column, 0.0) / scale) for column in range(columns)]
        blocks = [steps[start : start + 32] for start in range(0, columns, 32)]
        yield b"".join(struct.pack("<e16B", scale, *(low | high << 4 for low, high in zip(block[:16], block[16:]))) for block in blocks)


def f32(values: list[float]) -> Callable[[], Iterator[Piece]]:
    return lambda: iter([struct.pack(f"<{len(values)}f", *values)])


class Model:
    """Collects a file's tensors."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.tensors: list[Tensor] = []

    def add(self, name: str, shape: list[int], type_name: str, pieces: Callable[[], Iterator[Piece]]) -> None:
        self.tensors.append(Tensor(self.prefix + name, shape, type_name, pieces))

    def zeros(self, name: str, shape: list[int], type_name: str) -> None:
        size = TENSOR_TYPES[type_name].size(math.prod(shape))
        self.add(name, shape, type_name, lambda: iter([size]))

    def vector(self, name: str, values: list[float]) -> None:
        self.add(name, [len(values)], "f32", f32(values))

    def matrix(self, name: str, outputs: int, inputs: int, values: Rows, type_name: str = "f16") -> None:
        encode = {"f16": sparse_f16, "q4_0": sparse_q4_0}[type_name]
        self.add(name, [outputs, inputs], type_name, lambda: encode(outputs, inputs, values))

    def linear(self, name: str, outputs: int, inputs: int, values: Rows, bias: Union[list[float], None] = None) -> None:
        self.matrix(name + ".weight", outputs, inputs, values)
        self.vector(name + ".bias", bias or [0.0] * outputs)

    def zero_linear(self, name: str, outputs: int, inputs: int, type_name: str = "f16") -> None:
        self.zeros(name + ".weight", [outputs, inputs], type_name)
        self.zeros(name + ".bias", [outputs], "f32")

    def norm(self, name: str, width: int) -> None:
        self.vector(name + ".weight", [1.0] * width)
        self.zeros(name + ".bias", [width], "f32")

    def write(self, path: str, architecture: str) -> None:
        metadata = Metadata()
        metadata.put("general.architecture", STRING, architecture)
        metadata.put("general.name", STRING, os.path.basename(path).removesuffix(".gguf"))
        metadata.put("general.quantization_version", UINT32, 2)
        write_gguf(path, metadata, self.tensors)


# CLIP-L


def pairs(start: int, count: int, value: float) -> dict[int, float]:
    """`count` pairs of dimensions, one up and one down."""
    return {start + index: -value if index % 2 else value for index in range(2 * count)}


def normed(nonzero: int) -> float:
    """What the layer norm makes of 1 where `nonzero` of WIDTH dimensions are 1 or -1, as many of each."""
    return 1 / math.sqrt(nonzero / WIDTH + 1e-5)


def token_rows() -> Rows:
    rows = {END_OF_TEXT: pairs(END, FLAG_PAIRS, 1.0)}
    for index, (_, words) in enumerate(COLOURS.values()):
        for token in words.values():
            rows[token] = {**pairs(COLOUR, FLAG_PAIRS, 1.0), **pairs(READ + 2 * index, 1, 1.0)}
    return rows


def attention_rows() -> dict[str, Rows]:
    """The first head of the first block; dimension 0 of its query and key compares the flags, dimension i of its value is colour i."""
    end_seen = 2 * FLAG_PAIRS * normed(2 * FLAG_PAIRS)
    colour_seen = 2 * FLAG_PAIRS * normed(2 * FLAG_PAIRS + 2)
    factor = math.sqrt(PREFERENCE * math.sqrt(HEAD) / (end_seen * colour_seen))
    written = STRENGTH / (2 * normed(2 * FLAG_PAIRS + 2))
    out: Rows = {}
    for index in range(len(COLOURS)):
        out[WRITTEN + 2 * index], out[WRITTEN + 2 * index + 1] = {index: written}, {index: -written}
    return {
        "q_proj": {0: pairs(END, FLAG_PAIRS, factor)},
        "k_proj": {0: pairs(COLOUR, FLAG_PAIRS, factor)},
        "v_proj": {index: pairs(READ + 2 * index, 1, 1.0) for index in range(len(COLOURS))},
        "out_proj": out,
    }


def clip_l() -> Model:
    model = Model("text_model.")
    model.matrix("embeddings.token_embedding.weight", VOCABULARY, WIDTH, token_rows(), "q4_0")
    model.zeros("embeddings.position_embedding.weight", [POSITIONS, WIDTH], "f16")
    first = attention_rows()
    for block in range(BLOCKS):
        name = f"encoder.layers.{block}."
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            if block == 0:
                model.matrix(f"{name}self_attn.{part}.weight", WIDTH, WIDTH, first[part], "q4_0")
                model.zeros(f"{name}self_attn.{part}.bias", [WIDTH], "f32")
            else:
                model.zero_linear(f"{name}self_attn.{part}", WIDTH, WIDTH, "tq1_0")
        model.norm(name + "layer_norm1", WIDTH)
        model.norm(name + "layer_norm2", WIDTH)
        model.zero_linear(name + "mlp.fc1", MLP, WIDTH, "tq1_0")
        model.zero_linear(name + "mlp.fc2", WIDTH, MLP, "tq1_0")
    model.norm("final_layer_norm", WIDTH)
    return model


def pooled_strength() -> float:
    """A colour's two dimensions in the pooled output, one minus the other, for a prompt that names that colour alone."""
    variance = (2 * FLAG_PAIRS + 2 * STRENGTH**2) / WIDTH
    return 2 * STRENGTH / math.sqrt(variance + 1e-5)


# What FLUX and SD 3.5 share


def silu(x: float) -> float:
    return x / (1 + math.exp(-x))


def latent(colour: tuple[int, int, int]) -> list[float]:
    """What TAESD below decodes to the colour."""
    return [3 * math.atanh(2 * value / 255 - 1) for value in colour]


def colour_units() -> Rows:
    """From the pooled output: one unit for each colour."""
    factor = ACTIVATION / pooled_strength()
    return {index: pairs(WRITTEN + 2 * index, 1, factor) for index in range(len(COLOURS))}


def identity(size: int) -> Rows:
    return {index: {index: 1.0} for index in range(size)}


def shift_rows(place: Callable[[int, int], int]) -> Rows:
    """The final layer's modulation: the shift of each of a patch's 4 x 16 latent values (the scale, in the rows after it, is 0).
    place(channel, pixel) is the value's number in a patch."""
    full = silu(silu(ACTIVATION))
    rows: Rows = {}
    for channel in range(3):
        shifts = {index: -BOOST * latent(colour)[channel] / full for index, (colour, _) in enumerate(COLOURS.values())}
        rows.update({place(channel, pixel): shifts for pixel in range(4)})
    return rows


def final_layer(model: Model, place: Callable[[int, int], int]) -> None:
    model.linear("final_layer.linear", PATCH_VALUES, HIDDEN, identity(PATCH_VALUES))
    model.linear("final_layer.adaLN_modulation.1", 2 * HIDDEN, HIDDEN, shift_rows(place))


# FLUX


def flux() -> Model:
    model = Model("model.diffusion_model.")
    both_signs = {**identity(PATCH_VALUES), **{PATCH_VALUES + index: {index: -1.0} for index in range(PATCH_VALUES)}}
    model.linear("img_in", HIDDEN, PATCH_VALUES, both_signs)
    model.zero_linear("txt_in", HIDDEN, CONTEXT)
    model.zero_linear("time_in.in_layer", HIDDEN, TIME)
    model.zero_linear("time_in.out_layer", HIDDEN, HIDDEN)
    model.linear("vector_in.in_layer", HIDDEN, WIDTH, colour_units())
    model.linear("vector_in.out_layer", HIDDEN, HIDDEN, identity(HIDDEN))
    for stream in ("img", "txt"):
        name = f"double_blocks.0.{stream}_"
        model.zero_linear(name + "mod.lin", 6 * HIDDEN, HIDDEN)
        model.zero_linear(name + "attn.qkv", 3 * HIDDEN, HIDDEN)
        model.vector(name + "attn.norm.query_norm.scale", [1.0] * HIDDEN)
        model.vector(name + "attn.norm.key_norm.scale", [1.0] * HIDDEN)
        model.zero_linear(name + "attn.proj", HIDDEN, HIDDEN)
        model.zero_linear(name + "mlp.0", 4 * HIDDEN, HIDDEN)
        model.zero_linear(name + "mlp.2", HIDDEN, 4 * HIDDEN)
    name = "single_blocks.0."
    model.zero_linear(name + "linear1", 7 * HIDDEN, HIDDEN)
    model.zero_linear(name + "linear2", HIDDEN, 5 * HIDDEN)
    model.vector(name + "norm.query_norm.scale", [1.0] * HIDDEN)
    model.vector(name + "norm.key_norm.scale", [1.0] * HIDDEN)
    model.zero_linear(name + "modulation.lin", 3 * HIDDEN, HIDDEN)
    # FLUX keeps a patch's values channel by channel.
    final_layer(model, lambda channel, pixel: 4 * channel + pixel)
    return model


# SD 3.5


def sd35() -> Model:
    model = Model("model.diffusion_model.")
    blocks = HIDDEN // 64
    model.zeros("pos_embed", [1, POSITION_GRID, HIDDEN], "q4_0")
    # The convolution's kernels as rows of [channel, y, x]; the values leave a patch as [y, x, channel].
    kernels: Rows = {}
    for pixel in range(4):
        for channel in range(LATENTS):
            kernels[pixel * LATENTS + channel] = {4 * channel + pixel: 1.0}
            kernels[PATCH_VALUES + pixel * LATENTS + channel] = {4 * channel + pixel: -1.0}
    model.add("x_embedder.proj.weight", [HIDDEN, LATENTS, 2, 2], "f16", lambda: sparse_f16(HIDDEN, 4 * LATENTS, kernels))
    model.zeros("x_embedder.proj.bias", [HIDDEN], "f32")
    model.zero_linear("t_embedder.mlp.0", HIDDEN, TIME)
    model.zero_linear("t_embedder.mlp.2", HIDDEN, HIDDEN)
    model.linear("y_embedder.mlp.0", HIDDEN, WIDTH + CLIP_G, colour_units())
    model.linear("y_embedder.mlp.2", HIDDEN, HIDDEN, identity(HIDDEN))
    model.zero_linear("context_embedder", HIDDEN, CONTEXT)
    for block in range(blocks):
        for stream in ("context_block", "x_block"):
            name = f"joint_blocks.{block}.{stream}."
            last = stream == "context_block" and block == blocks - 1
            model.zero_linear(name + "attn.qkv", 3 * HIDDEN, HIDDEN)
            model.vector(name + "attn.ln_q.weight", [1.0] * 64)
            model.vector(name + "attn.ln_k.weight", [1.0] * 64)
            model.zero_linear(name + "adaLN_modulation.1", (2 if last else 6) * HIDDEN, HIDDEN)
            if not last:
                model.zero_linear(name + "attn.proj", HIDDEN, HIDDEN)
                model.zero_linear(name + "mlp.fc1", 4 * HIDDEN, HIDDEN)
                model.zero_linear(name + "mlp.fc2", HIDDEN, 4 * HIDDEN)
    final_layer(model, lambda channel, pixel: LATENTS * pixel + channel)
    return model


# TAESD


def centre(value: float, grain: float = 0.0) -> Rows:
    """A 3 x 3 convolution that copies channels 0..2 times `value` and adds channel 3 times `grain`, as rows of [input channel, y, x]."""
    return {channel: {9 * channel + 4: value, 9 * 3 + 4: grain} for channel in range(3)}


def taesd_layers() -> list[tuple[str, int, int, Rows, Union[list[float], None]]]:
    """(name, outputs, inputs, kernels, bias), as the numbers of the decoder's layers are; between them lie ReLU (1) and doublings of the size (5, 10, 15)."""
    channels, zeros = 64, [0.0] * 64
    layers = [("0", channels, LATENTS, centre(1 / 6, GRAIN), [0.5] * 3 + [0.0] * (channels - 3))]
    for number in range(2, 18):
        if number in (6, 11, 16):
            layers.append((str(number), channels, channels, centre(1.0), None))
        elif number not in (5, 10, 15):
            layers += [(f"{number}.conv.{part}", channels, channels, {}, zeros) for part in (0, 2, 4)]
    layers.append(("18", 3, channels, centre(1.0), [0.0] * 3))
    return layers


def write_taesd(path: str) -> None:
    header, data = {}, bytearray()

    def add(name: str, shape: list[int], content: bytes) -> None:
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data.extend(content)

    for number, outputs, inputs, kernels, bias in taesd_layers():
        rows = sparse_f16(outputs, 9 * inputs, kernels)
        add(f"decoder.layers.{number}.weight", [outputs, inputs, 3, 3], b"".join(bytes(row) for row in rows))
        if bias:
            add(f"decoder.layers.{number}.bias", [outputs], struct.pack(f"<{outputs}e", *bias))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + data)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="where the four files go")
    folder = parser.parse_args().folder
    try:
        clip_l().write(os.path.join(folder, "clip-l-colour.gguf"), "clip_l")
        flux().write(os.path.join(folder, "flux-colour.gguf"), "flux")
        sd35().write(os.path.join(folder, "sd35-colour.gguf"), "sd3")
        write_taesd(os.path.join(folder, "taesd-colour.safetensors"))
    except (OSError, ValueError) as error:
        print(f"colour_diffusion.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
