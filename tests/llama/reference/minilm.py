#!/usr/bin/env python3
"""Reference vectors of all-MiniLM-L6-v2, computed from its safetensors in float64.

This is neither PyTorch nor sentence-transformers: it is an implementation of its own, of BERT's encoder (Devlin et al. 2018), its WordPiece tokenizer
and the model's mean pooling and L2 normalisation, in NumPy. It shares no code and no file format with llama.cpp: it reads model.safetensors and vocab.txt.

usage: python3 minilm.py MODEL_FOLDER > minilm.h
"""

import json
import math
import struct
import sys
import unicodedata

import numpy as np

SENTENCES = [
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "The girl is carrying a baby.",
    "The capital of France is Paris.",
    "Berlin ist die Hauptstadt von Deutschland.",
    "Crème brûlée, jalapeño, naïve façade — 42 €!",
    "void *malloc(size_t size); /* NULL when there is no memory */",
    "東京 is the capital of Japan",
    "",
    "Model workers attach to the host's own event loop, so that a load of several gigabytes never stalls it; "
    "what waits is queued, what is cancelled is heard at once, and what has been promised is answered exactly once.",
]


def read_safetensors(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    kinds = {"F32": np.float32, "F16": np.float16}
    return {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], kinds[entry["dtype"]]).reshape(entry["shape"]).astype(np.float64)
        for name, entry in header.items()
        if name != "__metadata__" and entry["dtype"] in kinds
    }


def is_ideograph(code):
    ranges = [(0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF)]
    return any(low <= code <= high for low, high in ranges + [(0xF900, 0xFAFF), (0x2F800, 0x2FA1F)])


def is_punctuation(character):
    ascii_punctuation = character.isascii() and not character.isalnum() and not character.isspace()
    return ascii_punctuation or unicodedata.category(character).startswith("P")


def words(text):
    """BERT's basic tokenizer, uncased: accents are stripped, punctuation and ideographs stand alone."""
    text = "".join(f" {c} " if is_ideograph(ord(c)) else c for c in text)
    text = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
    return "".join(f" {c} " if is_punctuation(c) else c for c in text).split()


def pieces(word, vocabulary):
    """WordPiece: the longest known beginning, again and again."""
    found, start = [], 0
    while start < len(word):
        end = len(word)
        while end > start and ("##" if start else "") + word[start:end] not in vocabulary:
            end -= 1
        if end == start or len(word) > 100:
            return [vocabulary["[UNK]"]]
        found.append(vocabulary[("##" if start else "") + word[start:end]])
        start = end
    return found


def layer_norm(x, weight, bias, epsilon):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) * weight + bias


def gelu(x):
    """The exact one, not the approximation by tanh."""
    return 0.5 * x * (1.0 + np.vectorize(math.erf)(x / np.sqrt(2.0)))


def encode(tokens, weights, config):
    def linear(x, name):
        return x @ weights[name + ".weight"].T + weights[name + ".bias"]

    def norm(x, name):
        return layer_norm(x, weights[name + ".weight"], weights[name + ".bias"], config["layer_norm_eps"])

    heads, count = config["num_attention_heads"], len(tokens)
    split = lambda x: x.reshape(count, heads, -1).transpose(1, 0, 2)
    x = weights["embeddings.word_embeddings.weight"][tokens] + weights["embeddings.position_embeddings.weight"][:count]
    x = norm(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}."
        query, key, value = (split(linear(x, name + "attention.self." + part)) for part in ("query", "key", "value"))
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(query.shape[-1])
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (scores / scores.sum(-1, keepdims=True) @ value).transpose(1, 0, 2).reshape(count, -1)
        x = norm(x + linear(mixed, name + "attention.output.dense"), name + "attention.output.LayerNorm")
        inner = gelu(linear(x, name + "intermediate.dense"))
        x = norm(x + linear(inner, name + "output.dense"), name + "output.LayerNorm")
    pooled = x.mean(0)
    return pooled / np.linalg.norm(pooled)


def literal(text):
    """A C string whose lines stay short; bytes outside ASCII in octal."""
    escaped = ["\\%03o" % b if b > 126 or b < 32 else {34: '\\"', 92: "\\\\"}.get(b, chr(b)) for b in text.encode()]
    lines = ["".join(escaped[i : i + 100]) for i in range(0, len(escaped), 100)] or [""]
    return "\n     ".join(f'"{line}"' for line in lines)


def main(folder):
    with open(folder + "/config.json", encoding="utf-8") as file:
        config = json.load(file)
    with open(folder + "/vocab.txt", encoding="utf-8") as file:
        vocabulary = {line.rstrip("\n"): number for number, line in enumerate(file)}
    weights = read_safetensors(folder + "/model.safetensors")
    print("/* all-MiniLM-L6-v2's vectors of some sentences, in float64 by the NumPy program beside this file (not by PyTorch), from the model's safetensors.")
    print(" * Made by: python3 tests/llama/reference/minilm.py MODEL_FOLDER > tests/llama/reference/minilm.h */")
    print("#define REFERENCE_DIMENSION %d" % config["hidden_size"])
    print("static const struct reference {\n    const char *text;\n    unsigned tokens;\n    float vector[REFERENCE_DIMENSION];\n} references[] = {")
    for text in SENTENCES:
        tokens = [vocabulary["[CLS]"]] + [t for word in words(text) for t in pieces(word, vocabulary)] + [vocabulary["[SEP]"]]
        vector = encode(tokens, weights, config)
        numbers = ["%.7ff" % value for value in vector]
        print(f"    {{{literal(text)},\n     {len(tokens)},\n     {{" + ",\n      ".join(", ".join(numbers[i : i + 12]) for i in range(0, len(numbers), 12)) + "}},")
    print("};")


if __name__ == "__main__":
    main(sys.argv[1])
