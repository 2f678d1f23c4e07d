"""The vocabularies of the tiny ONNX files: GGUF files with nothing but a tokenizer, and a vocab.txt."""

from __future__ import annotations

import os

from gguf_writer import BOOL, FLOAT32, INT32, STRING, UINT32, Metadata, write_gguf
from tiny_tokens import Bpe, byte_level_bpe, put_bpe, wordpieces

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
BEGINNING = "\u2581"  # stands for a space

# What is a token of its own in SentencePiece's vocabulary, with the space before it.
MISTRAL_WORDS = (
    "Instruct Given Query question retrieve passages that answer the a of and to in is red green blue square circle triangle picture text good bad long short"
).split()


def mistral_tokens() -> list[str]:
    """<unk>, <s>, </s>, the 256 bytes, then pieces in the order in which they are merged: each word from its left end, character by character."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    known = set(tokens)
    for word in MISTRAL_WORDS:
        for end in range(2, len(word) + 2):
            piece = (BEGINNING + word)[:end]
            if piece not in known:
                known.add(piece)
                tokens.append(piece)
    characters = [BEGINNING, *(chr(code) for code in range(0x21, 0x7F)), *"äöüßéèñ€…日本語"]
    return [*tokens, *characters]


def write_mistral_vocabulary(path: str) -> None:
    """As NV-Embed's tokenizer is Mistral's, with an end token behind each text."""
    tokens, metadata = mistral_tokens(), Metadata()
    kinds = {"<unk>": UNKNOWN, "<s>": CONTROL, "</s>": CONTROL}
    metadata.put("general.architecture", STRING, "llama")
    metadata.put("general.name", STRING, "mistral-vocabulary-tiny")
    metadata.put("tokenizer.ggml.model", STRING, "llama")
    metadata.put("tokenizer.ggml.pre", STRING, "default")
    metadata.put_array("tokenizer.ggml.tokens", STRING, tokens)
    metadata.put_array("tokenizer.ggml.scores", FLOAT32, [0.0 if i < 259 else -float(i - 259) for i in range(len(tokens))])
    metadata.put_array("tokenizer.ggml.token_type", INT32, [kinds.get(token, BYTE if i < 259 else NORMAL) for i, token in enumerate(tokens)])
    for role, number in {"unknown": 0, "bos": 1, "eos": 2, "padding": 2}.items():
        metadata.put(f"tokenizer.ggml.{role}_token_id", UINT32, number)
    metadata.put("tokenizer.ggml.add_bos_token", BOOL, True)
    metadata.put("tokenizer.ggml.add_eos_token", BOOL, True)
    metadata.put("tokenizer.ggml.add_space_prefix", BOOL, True)
    write_gguf(path, metadata, [])


def qwen2_tokens() -> Bpe:
    return byte_level_bpe(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])


def write_qwen2_vocabulary(path: str) -> None:
    """As stella's tokenizer is Qwen2's, with an end token behind each text."""
    metadata = Metadata()
    metadata.put("general.architecture", STRING, "qwen2")
    metadata.put("general.name", STRING, "qwen2-vocabulary-tiny")
    put_bpe(metadata, qwen2_tokens(), "qwen2", {"eos": "<|endoftext|>", "padding": "<|endoftext|>"})
    metadata.put("tokenizer.ggml.add_bos_token", BOOL, False)
    metadata.put("tokenizer.ggml.add_eos_token", BOOL, True)
    write_gguf(path, metadata, [])


def write_wordpieces(path: str) -> None:
    unfinished = path + ".part"
    with open(unfinished, "w", encoding="utf-8", newline="\n") as out:
        out.writelines(piece + "\n" for piece in wordpieces())
    os.replace(unfinished, path)
