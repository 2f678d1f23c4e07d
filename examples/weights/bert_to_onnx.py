#!/usr/bin/env python3
"""Converts a BERT sentence-embedding model from safetensors to ONNX, in f32, with the pooling and the normalisation inside.

The folder must hold config.json, vocab.txt (WordPiece; copied to vocab.txt in the output's folder with --vocabulary) and model.safetensors;
1_Pooling/config.json chooses the pooling if it is there (mean otherwise). Only Python's standard library is needed. The same input gives the same bytes.

Inputs input_ids, attention_mask and token_type_ids, int64 [batch, tokens]; output sentence_embedding, f32 [batch, hidden_size], of length 1.
The formulas are those of Devlin et al. 2018, "BERT", as transformers' BertModel computes them (post-norm blocks, GELU by the error function), and of
sentence-transformers' Pooling (the mean of the tokens that the mask keeps, or the first token) and Normalize.
"""

import argparse
import os
import shutil
import struct
import sys
from array import array

from bert_files import Config, ConversionError, Safetensors, read_pooling, read_vocabulary
from onnx_writer import FLOAT, INT64, Graph

# What a masked token's score gets added: the smallest that attention still rounds to nothing.
MASKED = -1e9


class Bert:
    """Builds the graph out of the tensors of a safetensors file."""

    def __init__(self, config: Config, source: Safetensors, name: str) -> None:
        self.hidden = config.number("hidden_size")
        self.heads = config.number("num_attention_heads")
        self.blocks = config.number("num_hidden_layers")
        self.epsilon = config.number("layer_norm_eps", float)
        if config.values.get("hidden_act", "gelu") != "gelu":
            raise ConversionError(f"{config.path}: hidden_act: only gelu can be converted, found {config.values['hidden_act']!r}")
        if self.hidden % self.heads != 0:
            raise ConversionError(f"{config.path}: hidden_size {self.hidden} does not divide by num_attention_heads {self.heads}")
        self.source = source
        self.graph = Graph(name)

    def weight(self, name: str) -> str:
        return self.graph.constant(name, FLOAT, self.source.shape(name), b"".join(self.source.chunks(name)))

    def transposed(self, name: str) -> str:
        """A matrix as MatMul wants it, [inputs, outputs]; safetensors has it as [outputs, inputs]."""
        outputs, inputs = self.source.shape(name)
        values = array("f")
        for chunk in self.source.chunks(name):
            values.frombytes(chunk)
        columns = b"".join(values[column::inputs].tobytes() for column in range(inputs))
        return self.graph.constant(name + ".transposed", FLOAT, [inputs, outputs], columns)

    def linear(self, x: str, name: str) -> str:
        graph = self.graph
        return graph.operator("Add", graph.operator("MatMul", x, self.transposed(name + ".weight")), self.weight(name + ".bias"))

    def norm(self, x: str, name: str) -> str:
        weight, bias = self.weight(name + ".weight"), self.weight(name + ".bias")
        return self.graph.operator("LayerNormalization", x, weight, bias, axis=-1, epsilon=self.epsilon)

    def embeddings(self, tokens: str, types: str) -> str:
        graph = self.graph
        count = graph.operator("Slice", graph.operator("Shape", tokens), graph.integers("one", [1]), graph.integers("two", [2]))
        positions = graph.operator("Slice", self.weight("embeddings.position_embeddings.weight"), graph.integers("zero", [0]), count)
        words = graph.operator("Gather", self.weight("embeddings.word_embeddings.weight"), tokens)
        kinds = graph.operator("Gather", self.weight("embeddings.token_type_embeddings.weight"), types)
        return self.norm(graph.operator("Add", graph.operator("Add", words, kinds), positions), "embeddings.LayerNorm")

    def split_heads(self, x: str, order: list[int]) -> str:
        graph = self.graph
        shape = graph.integers("heads", [0, 0, self.heads, self.hidden // self.heads])
        return graph.operator("Transpose", graph.operator("Reshape", x, shape), perm=order)

    def attention(self, x: str, mask: str, name: str) -> str:
        graph = self.graph
        query = self.split_heads(self.linear(x, name + ".self.query"), [0, 2, 1, 3])
        key = self.split_heads(self.linear(x, name + ".self.key"), [0, 2, 3, 1])
        value = self.split_heads(self.linear(x, name + ".self.value"), [0, 2, 1, 3])
        scaled = graph.operator("Mul", query, graph.scalar("scale", (self.hidden // self.heads) ** -0.5))
        scores = graph.operator("Add", graph.operator("MatMul", scaled, key), mask)
        mixed = graph.operator("MatMul", graph.operator("Softmax", scores, axis=-1), value)
        joined = graph.operator("Reshape", graph.operator("Transpose", mixed, perm=[0, 2, 1, 3]), graph.integers("joined", [0, 0, self.hidden]))
        return self.linear(joined, name + ".output.dense")

    def gelu(self, x: str) -> str:
        """x (1 + erf(x / sqrt 2)) / 2"""
        graph = self.graph
        bell = graph.operator("Erf", graph.operator("Div", x, graph.scalar("sqrt2", 2**0.5)))
        half = graph.operator("Mul", x, graph.scalar("half", 0.5))
        return graph.operator("Mul", half, graph.operator("Add", bell, graph.scalar("unit", 1.0)))

    def block(self, x: str, mask: str, name: str) -> str:
        graph = self.graph
        x = self.norm(graph.operator("Add", self.attention(x, mask, name + ".attention"), x), name + ".attention.output.LayerNorm")
        y = self.linear(self.gelu(self.linear(x, name + ".intermediate.dense")), name + ".output.dense")
        return self.norm(graph.operator("Add", y, x), name + ".output.LayerNorm")

    def pool(self, x: str, kept: str, pooling: str) -> str:
        graph = self.graph
        if pooling == "cls":
            first = graph.operator("Slice", x, graph.integers("zero", [0]), graph.integers("one", [1]), graph.integers("one", [1]))
            return graph.operator("Squeeze", first, graph.integers("one", [1]))
        weights = graph.operator("Unsqueeze", kept, graph.integers("last", [-1]))
        total = graph.operator("ReduceSum", graph.operator("Mul", x, weights), graph.integers("one", [1]), keepdims=0)
        return graph.operator("Div", total, graph.operator("ReduceSum", weights, graph.integers("one", [1]), keepdims=0))

    def build(self, pooling: str) -> Graph:
        graph, dimensions = self.graph, ["batch", "tokens"]
        tokens = graph.input("input_ids", INT64, dimensions)
        attention_mask = graph.input("attention_mask", INT64, dimensions)
        types = graph.input("token_type_ids", INT64, dimensions)
        kept = graph.operator("Cast", attention_mask, to=FLOAT)
        dropped = graph.operator("Sub", graph.scalar("unit", 1.0), kept)
        mask = graph.operator("Unsqueeze", graph.operator("Mul", dropped, graph.scalar("masked", MASKED)), graph.integers("inner", [1, 2]))
        x = self.embeddings(tokens, types)
        for block in range(self.blocks):
            x = self.block(x, mask, f"encoder.layer.{block}")
        graph.operator("LpNormalization", self.pool(x, kept, pooling), axis=-1, p=2, output="sentence_embedding")
        graph.output("sentence_embedding", FLOAT, ["batch", self.hidden])
        return graph


def convert(folder: str, output: str, name: str) -> None:
    if sys.byteorder != "little":
        raise ConversionError("only little-endian machines can convert")
    config = Config(os.path.join(folder, "config.json"))
    read_vocabulary(os.path.join(folder, "vocab.txt"), config.number("vocab_size"))
    pooling = read_pooling(os.path.join(folder, "1_Pooling", "config.json"))
    source = Safetensors(os.path.join(folder, "model.safetensors"))
    Bert(config, source, name).build(pooling).write(output)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="the model's folder")
    parser.add_argument("output", help="the ONNX file to write")
    parser.add_argument("--name", help="the graph's name (default: the folder's name)")
    parser.add_argument("--vocabulary", action="store_true", help="also copy vocab.txt into the output's folder")
    arguments = parser.parse_args()
    name = arguments.name or os.path.basename(os.path.abspath(arguments.folder))
    try:
        convert(arguments.folder, arguments.output, name)
        if arguments.vocabulary:
            target = os.path.join(os.path.dirname(os.path.abspath(arguments.output)), "vocab.txt")
            shutil.copyfile(os.path.join(arguments.folder, "vocab.txt"), target)
    except (ConversionError, OSError, UnicodeDecodeError, ValueError, struct.error) as error:
        print(f"bert_to_onnx.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
