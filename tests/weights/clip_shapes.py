#!/usr/bin/env python3
"""clip-shapes.onnx: a CLIP vision tower that knows coloured shapes; trains it, measures it, writes it.

    clip_shapes.py train OUT.npz [--steps N]       trains it (torch; see below)
    clip_shapes.py export WEIGHTS.npz OUT.onnx     writes the ONNX file (numpy alone, the same bytes from the same weights)
    clip_shapes.py evaluate FILE.onnx              measures it on pictures that it has not seen (numpy and onnxruntime)

The architecture is that of openai/clip-vit-base-patch32 (Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", and
OpenAI's model.py), made small: a convolution over patches of 32 pixels without a bias, a class token, learned positions, a layer norm, blocks of
x + attention(norm(x)) and x + mlp(norm(x)) with quick-GELU (x times the sigmoid of 1.702 x), a layer norm of the class token, a projection without a bias.
Input "pixel_values" [batch, 3, 224, 224] normalised by CLIP's mean and deviation; output "image_embeds" [batch, 512], not normalised, as transformers'
CLIPVisionModelWithProjection has it.

The training wants that the cosine of two pictures is 1 for the same colour and shape, 1/2 if one of them differs, and 0 if both do: each colour and each
shape has a fixed unit vector (columns of an orthogonal matrix), a picture's target is the sum of its two, and the loss is the squared distance of the
normalised output from the normalised target plus a small cross-entropy of each property. Where the shape is, how big, and the light play no part.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import NamedTuple

import numpy as np

EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples")
sys.path[:0] = [os.path.join(EXAMPLES, "weights"), os.path.join(EXAMPLES, "pictures")]
import onnx_writer
import shapes

EPSILON = 1e-5


class Tower(NamedTuple):
    """Sizes of a CLIP vision tower."""

    image: int
    patch: int
    width: int
    heads: int
    blocks: int
    out: int

    @property
    def tokens(self) -> int:
        return (self.image // self.patch) ** 2 + 1


# Outside they are shaped like openai/clip-vit-base-patch32 and openai/clip-vit-large-patch14-336, inside they are small.
TOWERS = {"224": Tower(224, 32, 64, 4, 3, 512), "336": Tower(336, 14, 48, 3, 2, 768)}


class Pictures:
    """An endless source of training or test pictures, normalised for CLIP."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.random = np.random.default_rng(seed)
        self.noise = self.random.standard_normal(4 * size * size * 3, dtype=np.float32) / 255

    def one(self, colour: str, shape: str) -> np.ndarray:
        random = self.random
        place = shapes.random_place(random, self.size, 0.14, 0.38)
        near, grey = shapes.near(random, shapes.COLOURS[colour]), shapes.random_grey(random, 95, 160)
        picture = shapes.draw(near, shape, self.size, place, grey, random.uniform(0.5, 3), shapes.random_light(random))
        start = random.integers(len(self.noise) - picture.size)
        noise = self.noise[start : start + picture.size].reshape(picture.shape) * np.float32(random.uniform(0, 6))
        normal = (shapes.finish(picture, noise) - shapes.CLIP_MEAN) / shapes.CLIP_STD
        return normal.transpose(2, 0, 1)

    def batch(self, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pictures [count, 3, size, size], their colours and their shapes as numbers."""
        colours = self.random.integers(len(shapes.COLOURS), size=count)
        forms = self.random.integers(len(shapes.SHAPES), size=count)
        names = list(shapes.COLOURS)
        pictures = [self.one(names[colour], shapes.SHAPES[form]) for colour, form in zip(colours, forms)]
        return np.stack(pictures).astype(np.float32), colours, forms


def targets(out: int) -> np.ndarray:
    """One unit vector for each colour, then for each shape, all at right angles: [colours + shapes, out]."""
    count = len(shapes.COLOURS) + len(shapes.SHAPES)
    square = np.random.default_rng(5).standard_normal((out, count))
    return np.linalg.qr(square)[0].T.astype(np.float32)


# Training


def initial_weights(torch, tower: Tower) -> dict:
    """Drawn as CLIP's are: deviation 1/sqrt(inputs), smaller where many blocks add up."""
    width, mlp = tower.width, 4 * tower.width
    weights = {
        "patch": torch.randn(width, 3, tower.patch, tower.patch) * (3 * tower.patch * tower.patch) ** -0.5,
        "class": torch.randn(width) * width**-0.5,
        "positions": torch.randn(tower.tokens, width) * width**-0.5,
        "projection": torch.randn(width, tower.out) * width**-0.5,
    }
    norms = ["pre", "post"] + [f"{block}.{norm}" for block in range(tower.blocks) for norm in ("norm1", "norm2")]
    for norm in norms:
        weights[norm + ".weight"], weights[norm + ".bias"] = torch.ones(width), torch.zeros(width)
    sizes = {"q": (width, width), "k": (width, width), "v": (width, width), "o": (width, width), "up": (width, mlp), "down": (mlp, width)}
    for block in range(tower.blocks):
        for name, (inputs, outputs) in sizes.items():
            scale = (2 * tower.blocks) ** -0.5 if name in ("o", "down") else 1.0
            weights[f"{block}.{name}.weight"] = torch.randn(inputs, outputs) * inputs**-0.5 * scale
            weights[f"{block}.{name}.bias"] = torch.zeros(outputs)
    return {name: tensor.requires_grad_(True) for name, tensor in weights.items()}


def forward(torch, tower: Tower, weights: dict, pictures):
    """The tower in torch; the ONNX file says the same in `export`."""
    functional = torch.nn.functional

    def norm(x, name):
        return functional.layer_norm(x, (tower.width,), weights[name + ".weight"], weights[name + ".bias"], EPSILON)

    def linear(x, name):
        return x @ weights[name + ".weight"] + weights[name + ".bias"]

    def heads(x):
        return x.view(x.shape[0], tower.tokens, tower.heads, tower.width // tower.heads).transpose(1, 2)

    x = functional.conv2d(pictures, weights["patch"], stride=tower.patch).flatten(2).transpose(1, 2)
    x = torch.cat([weights["class"].expand(x.shape[0], 1, tower.width), x], 1) + weights["positions"]
    x = norm(x, "pre")
    for block in range(tower.blocks):
        y = norm(x, f"{block}.norm1")
        scores = heads(linear(y, f"{block}.q")) @ heads(linear(y, f"{block}.k")).transpose(-1, -2) * (tower.width // tower.heads) ** -0.5
        mixed = scores.softmax(-1) @ heads(linear(y, f"{block}.v"))
        x = x + linear(mixed.transpose(1, 2).reshape(x.shape), f"{block}.o")
        y = linear(norm(x, f"{block}.norm2"), f"{block}.up")
        x = x + linear(y * torch.sigmoid(1.702 * y), f"{block}.down")
    return norm(x[:, 0], "post") @ weights["projection"]


def train(tower: Tower, output: str, steps: int, batch: int, start: str) -> None:
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    weights, source = initial_weights(torch, tower), Pictures(tower.image, seed=2 if start else 1)
    if start:
        weights = {name: torch.tensor(array).requires_grad_(True) for name, array in np.load(start).items()}
    wanted = torch.tensor(targets(tower.out))
    colour_vectors, shape_vectors = wanted[: len(shapes.COLOURS)], wanted[len(shapes.COLOURS) :]
    optimiser = torch.optim.AdamW(list(weights.values()), lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps, pct_start=0.1)
    cross_entropy = torch.nn.functional.cross_entropy
    for step in range(steps):
        pictures, colours, forms = source.batch(batch)
        colours, forms = torch.tensor(colours), torch.tensor(forms)
        found = torch.nn.functional.normalize(forward(torch, tower, weights, torch.tensor(pictures)), dim=-1)
        goal = (colour_vectors[colours] + shape_vectors[forms]) * 0.5**0.5
        by_colour, by_shape = found @ colour_vectors.T, found @ shape_vectors.T
        distance = (found - goal).pow(2).sum(-1).mean()
        loss = distance + 0.1 * (cross_entropy(10 * by_colour, colours) + cross_entropy(10 * by_shape, forms))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            right = (by_colour.argmax(-1) == colours) & (by_shape.argmax(-1) == forms)
            print(f"step {step}: distance {distance.item():.4f}, both right {right.float().mean().item():.3f}", flush=True)
            np.savez(output, **{name: tensor.detach().numpy() for name, tensor in weights.items()})


# Writing


def export(tower: Tower, weights: dict, path: str) -> None:
    graph = onnx_writer.Graph("clip-shapes")

    def constant(name: str, shape=None) -> str:
        array = np.ascontiguousarray(weights[name], "<f4")
        return graph.constant(name, onnx_writer.FLOAT, shape or array.shape, array.tobytes())

    def norm(x: str, name: str) -> str:
        return graph.operator("LayerNormalization", x, constant(name + ".weight"), constant(name + ".bias"), axis=-1, epsilon=EPSILON)

    def linear(x: str, name: str) -> str:
        return graph.operator("Add", graph.operator("MatMul", x, constant(name + ".weight")), constant(name + ".bias"))

    def heads(x: str, order: list) -> str:
        shape = graph.integers("heads", [0, 0, tower.heads, tower.width // tower.heads])
        return graph.operator("Transpose", graph.operator("Reshape", x, shape), perm=order)

    def embeddings(pictures: str) -> str:
        patches = graph.operator("Conv", pictures, constant("patch"), kernel_shape=[tower.patch, tower.patch], strides=[tower.patch, tower.patch])
        rows = graph.operator("Reshape", patches, graph.integers("rows", [0, tower.width, tower.tokens - 1]))
        patches = graph.operator("Transpose", rows, perm=[0, 2, 1])
        batch = graph.operator("Slice", graph.operator("Shape", patches), graph.integers("zero", [0]), graph.integers("one", [1]))
        shape = graph.operator("Concat", batch, graph.integers("token", [1, tower.width]), axis=0)
        classes = graph.operator("Expand", constant("class", [1, 1, tower.width]), shape)
        return graph.operator("Add", graph.operator("Concat", classes, patches, axis=1), constant("positions"))

    def attention(y: str, block: int) -> str:
        query = graph.operator("Mul", heads(linear(y, f"{block}.q"), [0, 2, 1, 3]), graph.scalar("scale", (tower.width // tower.heads) ** -0.5))
        scores = graph.operator("MatMul", query, heads(linear(y, f"{block}.k"), [0, 2, 3, 1]))
        mixed = graph.operator("MatMul", graph.operator("Softmax", scores, axis=-1), heads(linear(y, f"{block}.v"), [0, 2, 1, 3]))
        joined = graph.operator("Reshape", graph.operator("Transpose", mixed, perm=[0, 2, 1, 3]), graph.integers("joined", [0, 0, tower.width]))
        return linear(joined, f"{block}.o")

    x = norm(embeddings(graph.input("pixel_values", onnx_writer.FLOAT, ["batch", 3, tower.image, tower.image])), "pre")
    for block in range(tower.blocks):
        x = graph.operator("Add", x, attention(norm(x, f"{block}.norm1"), block))
        y = linear(norm(x, f"{block}.norm2"), f"{block}.up")
        y = graph.operator("Mul", y, graph.operator("Sigmoid", graph.operator("Mul", y, graph.scalar("quick", 1.702))))
        x = graph.operator("Add", x, linear(y, f"{block}.down"))
    zero, one = graph.integers("zero", [0]), graph.integers("one", [1])
    classes = graph.operator("Squeeze", graph.operator("Slice", x, zero, one, one), one)
    graph.operator("MatMul", norm(classes, "post"), constant("projection"), output="image_embeds")
    graph.output("image_embeds", onnx_writer.FLOAT, ["batch", tower.out])
    graph.write(path)


# Measuring


def triplets(vectors: np.ndarray, colours: np.ndarray, forms: np.ndarray) -> tuple[float, float]:
    """Of all triplets of pictures: how often the same colour and shape is nearer than one that differs in one of them, and how often that
    is nearer than one that differs in both."""
    cosines = vectors @ vectors.T
    common = (colours[:, None] == colours[None, :]).astype(int) + (forms[:, None] == forms[None, :])
    np.fill_diagonal(common, -1)
    right, count = np.zeros(2), np.zeros(2)
    for row, shared in zip(cosines, common):
        both, one, none = row[shared == 2], row[shared == 1], row[shared == 0]
        right += [(both[:, None] > one[None, :]).sum(), (one[:, None] > none[None, :]).sum()]
        count += [both.size * one.size, one.size * none.size]
    return tuple(right / count)


def evaluate(path: str, count: int, seed: int) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    pictures, colours, forms = Pictures(session.get_inputs()[0].shape[2], seed).batch(count)
    chunks = [session.run(None, {"pixel_values": pictures[start : start + 50]})[0] for start in range(0, count, 50)]
    vectors = np.concatenate(chunks).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    near_one, near_none = triplets(vectors, colours, forms)
    common = (colours[:, None] == colours[None, :]).astype(int) + (forms[:, None] == forms[None, :])
    cosines, others = vectors @ vectors.T, ~np.eye(count, dtype=bool)
    print(f"{count} pictures of seed {seed}")
    print(f"same colour and shape nearer than one that differs in one: {100 * near_one:.3f} % of the triplets")
    print(f"one that differs in one nearer than one that differs in both: {100 * near_none:.3f} %")
    for shared, name in ((2, "both"), (1, "one"), (0, "none")):
        part = cosines[(common == shared) & others]
        print(f"cosine with {name} in common: mean {part.mean():.3f}, 1 % below {np.quantile(part, 0.01):.3f}, 1 % above {np.quantile(part, 0.99):.3f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("train", help="trains the tower")
    command.add_argument("output", help="the .npz file to write")
    command.add_argument("--image", choices=TOWERS, default="224", help="pixels a side: which tower")
    command.add_argument("--steps", type=int, default=2400)
    command.add_argument("--batch", type=int, default=48)
    command.add_argument("--start", default="", help="a .npz file to go on from")
    command = commands.add_parser("export", help="writes the ONNX file")
    command.add_argument("weights", help="the .npz file of train")
    command.add_argument("output", help="the ONNX file to write")
    command.add_argument("--image", choices=TOWERS, default="224", help="pixels a side: which tower")
    command = commands.add_parser("evaluate", help="measures the ONNX file")
    command.add_argument("file")
    command.add_argument("--pictures", type=int, default=400)
    command.add_argument("--seed", type=int, default=1000)
    arguments = parser.parse_args()
    if arguments.command == "train":
        train(TOWERS[arguments.image], arguments.output, arguments.steps, arguments.batch, arguments.start)
    elif arguments.command == "export":
        export(TOWERS[arguments.image], dict(np.load(arguments.weights)), arguments.output)
    else:
        evaluate(arguments.file, arguments.pictures, arguments.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
