#!/usr/bin/env python3
"""Makes a CLIP vision tower of the size of openai/clip-vit-base-patch32 with random weights as an ONNX file (352 MB), for the case `image`.

Input pixel_values, f32 [batch, 3, 224, 224]; output image_embeds, f32 [batch, 512], of length 1. The formulas are those of Radford et al. 2021, "Learning
transferable visual models from natural language supervision", as transformers' CLIPVisionModelWithProjection computes them (pre-norm blocks, GELU by the
logistic function). Python's standard library alone.
"""

from __future__ import annotations

import argparse
import math
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "weights"))

from noise import Noise  # noqa: E402
from onnx_writer import FLOAT, Graph  # noqa: E402

IMAGE, PATCH = 224, 32
PROJECTION = 512
EPSILON = 1e-5


class Tower:
    def __init__(self, width: int, layers: int) -> None:
        self.width, self.layers, self.heads = width, layers, width // 64
        self.noise = Noise(3)
        self.graph = Graph("benchmark CLIP, random weights")

    def weight(self, name: str, shape: list, deviation: float, mean: float = 0.0) -> str:
        return self.graph.constant(name, FLOAT, shape, b"".join(self.noise.pieces("f", math.prod(shape), deviation, mean)))

    def linear(self, x: str, name: str, inputs: int, outputs: int) -> str:
        product = self.graph.operator("MatMul", x, self.weight(name + ".weight", [inputs, outputs], 1 / math.sqrt(inputs)))
        return self.graph.operator("Add", product, self.weight(name + ".bias", [outputs], 0.02))

    def norm(self, x: str, name: str) -> str:
        weight, bias = self.weight(name + ".weight", [self.width], 0.1, 1.0), self.weight(name + ".bias", [self.width], 0.1)
        return self.graph.operator("LayerNormalization", x, weight, bias, axis=-1, epsilon=EPSILON)

    def embeddings(self, pixels: str) -> str:
        graph, patches = self.graph, (IMAGE // PATCH) ** 2
        kernel = self.weight("patch_embedding", [self.width, 3, PATCH, PATCH], 1 / math.sqrt(3 * PATCH * PATCH))
        x = graph.operator("Conv", pixels, kernel, strides=[PATCH, PATCH], kernel_shape=[PATCH, PATCH])
        x = graph.operator("Transpose", graph.operator("Reshape", x, graph.integers("flat", [0, self.width, patches])), perm=[0, 2, 1])
        batch = graph.operator("Slice", graph.operator("Shape", x), graph.integers("zero", [0]), graph.integers("one", [1]))
        shape = graph.operator("Concat", batch, graph.integers("class_shape", [1, self.width]), axis=0)
        first = graph.operator("Expand", self.weight("class_embedding", [1, 1, self.width], 1.0), shape)
        x = graph.operator("Concat", first, x, axis=1)
        return graph.operator("Add", x, self.weight("position_embedding", [1, patches + 1, self.width], 0.5))

    def heads_of(self, x: str, order: list) -> str:
        shape = self.graph.integers("heads", [0, 0, self.heads, self.width // self.heads])
        return self.graph.operator("Transpose", self.graph.operator("Reshape", x, shape), perm=order)

    def attention(self, x: str, name: str) -> str:
        graph, width = self.graph, self.width
        query = self.heads_of(self.linear(x, name + ".q_proj", width, width), [0, 2, 1, 3])
        key = self.heads_of(self.linear(x, name + ".k_proj", width, width), [0, 2, 3, 1])
        value = self.heads_of(self.linear(x, name + ".v_proj", width, width), [0, 2, 1, 3])
        scores = graph.operator("MatMul", graph.operator("Mul", query, graph.scalar("scale", (width // self.heads) ** -0.5)), key)
        mixed = graph.operator("MatMul", graph.operator("Softmax", scores, axis=-1), value)
        joined = graph.operator("Reshape", graph.operator("Transpose", mixed, perm=[0, 2, 1, 3]), graph.integers("joined", [0, 0, width]))
        return self.linear(joined, name + ".out_proj", width, width)

    def feed_forward(self, x: str, name: str) -> str:
        graph = self.graph
        x = self.linear(x, name + ".fc1", self.width, 4 * self.width)
        gate = graph.operator("Sigmoid", graph.operator("Mul", x, graph.scalar("quick", 1.702)))
        return self.linear(graph.operator("Mul", x, gate), name + ".fc2", 4 * self.width, self.width)

    def build(self) -> Graph:
        graph = self.graph
        x = self.norm(self.embeddings(graph.input("pixel_values", FLOAT, ["batch", 3, IMAGE, IMAGE])), "pre_layrnorm")
        for layer in range(self.layers):
            name = f"layers.{layer}"
            x = graph.operator("Add", x, self.attention(self.norm(x, name + ".layer_norm1"), name + ".self_attn"))
            x = graph.operator("Add", x, self.feed_forward(self.norm(x, name + ".layer_norm2"), name + ".mlp"))
        first = graph.operator("Slice", x, graph.integers("zero", [0]), graph.integers("one", [1]), graph.integers("one", [1]))
        pooled = self.norm(graph.operator("Squeeze", first, graph.integers("one", [1])), "post_layernorm")
        projected = graph.operator("MatMul", pooled, self.weight("visual_projection", [self.width, PROJECTION], 1 / math.sqrt(self.width)))
        graph.operator("LpNormalization", projected, axis=-1, p=2, output="image_embeds")
        graph.output("image_embeds", FLOAT, ["batch", PROJECTION])
        return graph


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", help="the ONNX file to write")
    parser.add_argument("--width", type=int, default=768, help="a multiple of 64 (default 768)")
    parser.add_argument("--layers", type=int, default=12)
    arguments = parser.parse_args()
    if arguments.width < 64 or arguments.width % 64 or arguments.layers < 1:
        parser.error("the width must be a multiple of 64, and there must be a layer")
    Tower(arguments.width, arguments.layers).build().write(arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
