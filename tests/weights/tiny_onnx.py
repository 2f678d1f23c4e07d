#!/usr/bin/env python3
"""Small ONNX files of the catalogue's embedding models that llama.cpp has no architecture for, with random weights, and their vocabularies.

    tiny_onnx.py NAME OUTPUT     NAME: nv-embed, stella-400m, stella-1.5b, mistral-vocabulary, stella-400m-vocabulary, qwen2-vocabulary

What makes an architecture itself is as published: attention, positions, norms, activations, pooling, the dimension of the vectors. What only makes it large is
small: layers, widths, heads, vocabulary. The weights' names are those of the published files; a matrix is stored as MatMul wants it, [inputs, outputs], and
called NAME.transposed. Python's standard library alone; the same bytes everywhere. reference_onnx.py says what they answer.
"""

from __future__ import annotations

import math
import os
import struct
import sys
from typing import Optional

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "weights"))
from onnx_writer import FLOAT, FLOAT16, INT64, Graph
from tiny_onnx_words import mistral_tokens, qwen2_tokens, write_mistral_vocabulary, write_qwen2_vocabulary, write_wordpieces
from tiny_random import normal_f16, widened
from tiny_tokens import wordpieces

MASKED = -1e9  # what a masked token's score gets added


class Model:
    """A graph in the making: layers by their published names."""

    def __init__(self, name: str) -> None:
        self.graph = Graph(name)

    # Weights

    def values(self, name: str, shape: list[int], deviation: float, mean: float = 0.0) -> str:
        count = math.prod(shape)
        return self.graph.constant(name, FLOAT, shape, widened(normal_f16(f"{self.graph.name}/{name}", count, deviation), mean))

    def linear(self, x: str, name: str, inputs: int, outputs: int, bias: bool) -> str:
        """Columns of unit length, so that what goes in and what comes out are of one size."""
        y = self.graph.operator("MatMul", x, self.values(f"{name}.weight.transposed", [inputs, outputs], inputs**-0.5))
        return self.graph.operator("Add", y, self.values(f"{name}.bias", [outputs], 0.1)) if bias else y

    def words(self, name: str, count: int, width: int, tokens: str) -> str:
        """float16 in the file and in memory; only the rows of a text's tokens are widened."""
        table = self.graph.constant(name, FLOAT16, [count, width], normal_f16(f"{self.graph.name}/{name}", count * width, 1.0))
        return self.graph.operator("Cast", self.graph.operator("Gather", table, tokens), to=FLOAT)

    # Norms

    def layer_norm(self, x: str, name: str, width: int, epsilon: float) -> str:
        weight, bias = self.values(f"{name}.weight", [width], 0.1, 1.0), self.values(f"{name}.bias", [width], 0.1)
        return self.graph.operator("LayerNormalization", x, weight, bias, axis=-1, epsilon=epsilon)

    def rms_norm(self, x: str, name: str, width: int, epsilon: float) -> str:
        graph = self.graph
        mean = graph.operator("ReduceMean", graph.operator("Mul", x, x), axes=[-1], keepdims=1)
        root = graph.operator("Sqrt", graph.operator("Add", mean, graph.scalar(f"epsilon.{epsilon}", epsilon)))
        return graph.operator("Mul", graph.operator("Div", x, root), self.values(f"{name}.weight", [width], 0.1, 1.0))

    # Activations

    def silu(self, x: str) -> str:
        return self.graph.operator("Mul", x, self.graph.operator("Sigmoid", x))

    def gelu(self, x: str) -> str:
        """x (1 + erf(x / sqrt 2)) / 2"""
        graph = self.graph
        bell = graph.operator("Erf", graph.operator("Div", x, graph.scalar("sqrt2", 2**0.5)))
        return graph.operator("Mul", graph.operator("Mul", x, graph.scalar("half", 0.5)), graph.operator("Add", bell, graph.scalar("unit", 1.0)))

    # Masks, pooling

    def kept(self, mask: str) -> str:
        return self.graph.operator("Cast", mask, to=FLOAT)

    def score_mask(self, mask: str) -> str:
        """[batch, 1, 1, tokens]: what is added to attention's scores. Every token sees every other: none of these models is causal."""
        graph = self.graph
        dropped = graph.operator("Sub", graph.scalar("unit", 1.0), self.kept(mask))
        return graph.operator("Unsqueeze", graph.operator("Mul", dropped, graph.scalar("masked", MASKED)), graph.integers("inner", [1, 2]))

    def mean(self, x: str, mask: str) -> str:
        graph = self.graph
        weights = graph.operator("Unsqueeze", self.kept(mask), graph.integers("last", [-1]))
        total = graph.operator("ReduceSum", graph.operator("Mul", x, weights), graph.integers("one", [1]), keepdims=0)
        return graph.operator("Div", total, graph.operator("ReduceSum", weights, graph.integers("one", [1]), keepdims=0))

    # Rotary positions, in the form that turns the first half of a head against the second

    def rotation(self, tokens: str, frequencies: list[float]) -> tuple[str, str]:
        """Cosines and sines [tokens, head]."""
        graph = self.graph
        count = graph.operator("Gather", graph.operator("Shape", tokens), graph.number("axis", 1))
        positions = graph.operator("Cast", graph.operator("Range", graph.number("from", 0), count, graph.number("step", 1)), to=FLOAT)
        table = graph.constant("inv_freq", FLOAT, [1, len(frequencies)], struct.pack(f"<{len(frequencies)}f", *frequencies))
        half = graph.operator("Mul", graph.operator("Unsqueeze", positions, graph.integers("one", [1])), table)
        angles = graph.operator("Concat", half, half, axis=-1)
        return graph.operator("Cos", angles), graph.operator("Sin", angles)

    def rotate(self, x: str, rotation: tuple[str, str]) -> str:
        graph = self.graph
        first, second = graph.parts("Split", 2, x, axis=-1)
        turned = graph.operator("Concat", graph.operator("Neg", second), first, axis=-1)
        return graph.operator("Add", graph.operator("Mul", x, rotation[0]), graph.operator("Mul", turned, rotation[1]))

    # Attention over [batch, heads, tokens, head]

    def heads(self, x: str, count: int, width: int) -> str:
        graph = self.graph
        split = graph.operator("Reshape", x, graph.integers(f"heads.{count}.{width}", [0, 0, count, width]))
        return graph.operator("Transpose", split, perm=[0, 2, 1, 3])

    def repeated(self, x: str, groups: int, heads: int, width: int) -> str:
        """Each head of the keys and values for so many of the queries."""
        graph = self.graph
        spread = graph.operator("Expand", graph.operator("Unsqueeze", x, graph.integers("two", [2])), graph.integers(f"groups.{groups}", [1, 1, groups, 1, 1]))
        return graph.operator("Reshape", spread, graph.integers(f"spread.{heads}.{width}", [0, heads, -1, width]))

    def mixed(self, query: str, key: str, value: str, mask: Optional[str], heads: int, width: int) -> str:
        graph = self.graph
        scaled = graph.operator("Mul", query, graph.scalar(f"scale.{width}", width**-0.5))
        scores = graph.operator("MatMul", scaled, graph.operator("Transpose", key, perm=[0, 1, 3, 2]))
        if mask:
            scores = graph.operator("Add", scores, mask)
        mixed = graph.operator("MatMul", graph.operator("Softmax", scores, axis=-1), value)
        return graph.operator("Reshape", graph.operator("Transpose", mixed, perm=[0, 2, 1, 3]), graph.integers(f"joined.{heads * width}", [0, 0, heads * width]))

    # The end

    def inputs(self, *names: str) -> list[str]:
        return [self.graph.input(name, INT64, ["batch", "tokens"]) for name in names]

    def finish(self, vector: str, dimension: int, path: str) -> None:
        """Not normalised: that is left to who runs it."""
        self.graph.operator("Identity", vector, output="sentence_embedding")
        self.graph.output("sentence_embedding", FLOAT, ["batch", dimension])
        self.graph.write(path)


def frequencies(theta: float, head: int) -> list[float]:
    return [theta ** (-2 * i / head) for i in range(head // 2)]


def ntk_frequencies(theta: float, head: int, factor: float) -> list[float]:
    """NTK-aware scaling without mixing: the base is multiplied, and all frequencies divided by the factor's (2 / head)th power."""
    return [frequency / factor ** (2 / head) for frequency in frequencies(theta * factor, head)]


class Decoder:
    """Layers of Mistral and Qwen2, which differ in the biases of queries, keys and values."""

    def __init__(self, model: Model, prefix: str, hidden: int, inner: int, heads: int, key_heads: int, head: int, biases: bool, epsilon: float) -> None:
        self.model, self.prefix, self.hidden, self.inner = model, prefix, hidden, inner
        self.count, self.key_count, self.head, self.biases, self.epsilon = heads, key_heads, head, biases, epsilon

    def projected(self, x: str, name: str, heads: int) -> str:
        return self.model.heads(self.model.linear(x, name, self.hidden, heads * self.head, self.biases), heads, self.head)

    def attention(self, x: str, name: str, mask: str, rotation: tuple[str, str]) -> str:
        model, groups = self.model, self.count // self.key_count
        query = model.rotate(self.projected(x, f"{name}.q_proj", self.count), rotation)
        key = model.rotate(self.projected(x, f"{name}.k_proj", self.key_count), rotation)
        value = self.projected(x, f"{name}.v_proj", self.key_count)
        key, value = (model.repeated(part, groups, self.count, self.head) for part in (key, value))
        mixed = model.mixed(query, key, value, mask, self.count, self.head)
        return model.linear(mixed, f"{name}.o_proj", self.count * self.head, self.hidden, False)

    def feed_forward(self, x: str, name: str) -> str:
        model = self.model
        gate = model.silu(model.linear(x, f"{name}.gate_proj", self.hidden, self.inner, False))
        up = model.linear(x, f"{name}.up_proj", self.hidden, self.inner, False)
        return model.linear(model.graph.operator("Mul", gate, up), f"{name}.down_proj", self.inner, self.hidden, False)

    def run(self, tokens: str, mask: str, words: int, layers: int, theta: float) -> str:
        model = self.model
        x = model.words(f"{self.prefix}embed_tokens.weight", words, self.hidden, tokens)
        rotation, scores = model.rotation(tokens, frequencies(theta, self.head)), model.score_mask(mask)
        for layer in range(layers):
            name = f"{self.prefix}layers.{layer}"
            normed = model.rms_norm(x, f"{name}.input_layernorm", self.hidden, self.epsilon)
            x = model.graph.operator("Add", x, self.attention(normed, f"{name}.self_attn", scores, rotation))
            normed = model.rms_norm(x, f"{name}.post_attention_layernorm", self.hidden, self.epsilon)
            x = model.graph.operator("Add", x, self.feed_forward(normed, f"{name}.mlp"))
        return model.rms_norm(x, f"{self.prefix}norm", self.hidden, self.epsilon)


def latent_attention(model: Model, x: str, hidden: int, latents: int, heads: int, head: int, inner: int) -> str:
    """The hidden states ask, the latents are what is asked; then a gated feed-forward. Both with norms before and residuals around."""
    graph, name = model.graph, "latent_attention_model.cross_attend_blocks"
    table = model.values("latent_attention_model.latents", [1, latents, hidden], 1.0)
    table = model.layer_norm(table, f"{name}.0.norm_context", hidden, 1e-5)
    normed = model.layer_norm(x, f"{name}.0.norm", hidden, 1e-5)
    query = model.heads(model.linear(normed, f"{name}.0.fn.to_q", hidden, heads * head, False), heads, head)
    key, value = graph.parts("Split", 2, model.linear(table, f"{name}.0.fn.to_kv", hidden, 2 * heads * head, False), axis=-1)
    mixed = model.mixed(query, model.heads(key, heads, head), model.heads(value, heads, head), None, heads, head)
    x = graph.operator("Add", model.linear(mixed, f"{name}.0.fn.to_out", heads * head, hidden, False), x)
    normed = model.layer_norm(x, f"{name}.1.norm", hidden, 1e-5)
    value, gate = graph.parts("Split", 2, model.linear(normed, f"{name}.1.fn.net.0", hidden, 2 * inner, True), axis=-1)
    widened_back = model.linear(graph.operator("Mul", value, model.gelu(gate)), f"{name}.1.fn.net.2", inner, hidden, True)
    return graph.operator("Add", widened_back, x)


def nv_embed(path: str) -> None:
    """nvidia/NV-Embed-v2. The vectors are as wide as the decoder, so its width is the published one."""
    model, hidden = Model("nv-embed-tiny"), 4096
    tokens, mask, pool = model.inputs("input_ids", "attention_mask", "pool_mask")
    decoder = Decoder(model, "embedding_model.", hidden, inner=16, heads=4, key_heads=2, head=8, biases=False, epsilon=1e-5)
    x = decoder.run(tokens, mask, len(mistral_tokens()), layers=2, theta=10000.0)
    x = latent_attention(model, x, hidden, latents=8, heads=2, head=16, inner=16)
    model.finish(model.mean(x, pool), hidden, path)


def stella_1_5b(path: str) -> None:
    """dunzhang/stella_en_1.5B_v5, with the dense layer for 1024 dimensions."""
    model, hidden = Model("stella-1.5b-tiny"), 64
    tokens, mask = model.inputs("input_ids", "attention_mask")
    decoder = Decoder(model, "", hidden, inner=96, heads=4, key_heads=2, head=16, biases=True, epsilon=1e-6)
    x = decoder.run(tokens, mask, len(qwen2_tokens().tokens), layers=2, theta=1000000.0)
    model.finish(model.linear(model.mean(x, mask), "2_Dense_1024.linear", hidden, 1024, True), 1024, path)


def stella_400m(path: str) -> None:
    """dunzhang/stella_en_400M_v5, whose encoder is that of Alibaba-NLP/gte-large-en-v1.5; with the dense layer for 1024 dimensions."""
    model, hidden, heads, head, inner, epsilon = Model("stella-400m-tiny"), 64, 4, 16, 96, 1e-12
    graph = model.graph
    tokens, mask, types = model.inputs("input_ids", "attention_mask", "token_type_ids")
    x = model.words("embeddings.word_embeddings.weight", len(wordpieces()), hidden, tokens)
    x = graph.operator("Add", x, graph.operator("Gather", model.values("embeddings.token_type_embeddings.weight", [2, hidden], 0.3), types))
    x = model.layer_norm(x, "embeddings.LayerNorm", hidden, epsilon)
    rotation, scores = model.rotation(tokens, ntk_frequencies(160000.0, head, 2.0)), model.score_mask(mask)
    for layer in range(2):
        name = f"encoder.layer.{layer}"
        packed = graph.parts("Split", 3, model.linear(x, f"{name}.attention.qkv_proj", hidden, 3 * hidden, True), axis=-1)
        query, key, value = (model.heads(part, heads, head) for part in packed)
        mixed = model.mixed(model.rotate(query, rotation), model.rotate(key, rotation), value, scores, heads, head)
        x = graph.operator("Add", x, model.linear(mixed, f"{name}.attention.o_proj", hidden, hidden, True))
        x = model.layer_norm(x, f"{name}.attn_ln", hidden, epsilon)
        up, gate = graph.parts("Split", 2, model.linear(x, f"{name}.mlp.up_gate_proj", hidden, 2 * inner, False), axis=-1)
        y = model.linear(graph.operator("Mul", model.gelu(gate), up), f"{name}.mlp.down_proj", inner, hidden, True)
        x = model.layer_norm(graph.operator("Add", x, y), f"{name}.mlp_ln", hidden, epsilon)
    model.finish(model.linear(model.mean(x, mask), "2_Dense_1024.linear", hidden, 1024, True), 1024, path)


MAKERS = {
    "nv-embed": nv_embed,
    "stella-400m": stella_400m,
    "stella-1.5b": stella_1_5b,
    "mistral-vocabulary": write_mistral_vocabulary,
    "stella-400m-vocabulary": write_wordpieces,
    "qwen2-vocabulary": write_qwen2_vocabulary,
}


def main() -> int:
    if len(sys.argv) != 3 or sys.argv[1] not in MAKERS:
        print(__doc__, file=sys.stderr)
        return 1
    try:
        MAKERS[sys.argv[1]](sys.argv[2])
    except (OSError, ValueError) as error:
        print(f"tiny_onnx.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
