#!/usr/bin/env python3
"""What the tiny ONNX embedding models must answer, by other code than theirs: transformers' MistralModel and Qwen2Model, its tokenizers and the tokenizers
library; what transformers does not have (NV-Embed's latent attention, Alibaba-NLP's NewModel, the dense layers) is written here once more, in torch.

    reference_onnx.py FOLDER OUTPUT     FOLDER holds what tiny_onnx.py and examples/weights.sh make; OUTPUT is tests/onnx/reference

Writes OUTPUT/NAME.bin, records one after another:  TASK LENGTH TOKENS DIMENSION  in decimal on a line (TASK "-" for none), the text's LENGTH bytes, a newline,
and DIMENSION little-endian 16-bit integers, the vector scaled so that its largest value is 32767. Needs torch, transformers, tokenizers and onnx; made with
torch 2.5.1, transformers 4.51.3, tokenizers 0.21.4, onnx 1.23.2. The tests read what is written and need none of them.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import tempfile
from typing import Callable, NamedTuple

import onnx
import torch
from onnx import numpy_helper
from tokenizers import Tokenizer, models, normalizers, processors
from transformers import BertTokenizerFast, MistralConfig, MistralModel, Qwen2Config, Qwen2Model, Qwen2TokenizerFast

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "..", "examples", "weights")]
from tiny_onnx_words import mistral_tokens, qwen2_tokens

NV_PROMPTS = {"query": "Instruct: Given a question, retrieve passages that answer the question\nQuery: "}
STELLA_PROMPTS = {
    "s2p_query": "Instruct: Given a web search query, retrieve relevant passages that answer the query.\nQuery: ",
    "s2s_query": "Instruct: Retrieve semantically similar text.\nQuery: ",
}
LONG = " ".join(f"The {colour} {shape} of picture {i} is good, and the long text goes on." for i in range(6) for colour in ("red", "green") for shape in ("circle", "square"))
TEXTS = ["", "a red circle", "What is a triangle?", "Größe: 3 €, 日本語 und русский… 🙂", "  two  spaces,\nthen a line\tand a tab ", LONG]

Weights = dict[str, torch.Tensor]


class Reference(NamedTuple):
    encode: Callable[[str], list[int]]  # with special tokens
    vector: Callable[[list[int], int], torch.Tensor]  # of tokens, the first so many of which do not count
    prompts: dict[str, str]
    skipped: Callable[[str], int] = lambda task: 0


def read_weights(path: str) -> Weights:
    """By their published names, matrices as [outputs, inputs]."""
    weights: Weights = {}
    for tensor in onnx.load(path).graph.initializer:
        values = torch.tensor(numpy_helper.to_array(tensor))
        if values.dtype == torch.float16:
            values = values.float()
        weights[tensor.name.removesuffix(".transposed")] = values.T.contiguous() if tensor.name.endswith(".transposed") else values
    return weights


def load(model: torch.nn.Module, weights: Weights, prefix: str) -> torch.nn.Module:
    """Every parameter of the model must be there."""
    model.load_state_dict({name: weights[prefix + name] for name in model.state_dict()}, strict=True)
    return model.eval()


def hidden_states(model: torch.nn.Module, ids: list[int]) -> torch.Tensor:
    """A mask of four dimensions is taken as it is: of zeros, each token sees all."""
    mask = torch.zeros(1, 1, len(ids), len(ids))
    return model(input_ids=torch.tensor([ids]), attention_mask=mask, use_cache=False).last_hidden_state[0]


# ---- NV-Embed ----


def nv_embed(folder: str) -> Reference:
    w = read_weights(os.path.join(folder, "nv-embed-tiny.onnx"))
    config = MistralConfig(
        vocab_size=len(mistral_tokens()), hidden_size=4096, intermediate_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        rms_norm_eps=1e-5, rope_theta=10000.0, sliding_window=None, max_position_embeddings=32768, attn_implementation="eager",
    )
    decoder = load(MistralModel(config), w, "embedding_model.")
    tokens = mistral_tokens()
    merges = [(piece[:-1], piece[-1]) for piece in tokens[259:] if len(piece) > 1]
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(tokens)}, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return torch.nn.functional.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return torch.nn.functional.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])

    def latent(hiddens: torch.Tensor) -> torch.Tensor:
        name, heads = "latent_attention_model.cross_attend_blocks", 2
        query = linear(norm(hiddens, f"{name}.0.norm"), f"{name}.0.fn.to_q")
        context = norm(w["latent_attention_model.latents"][0], f"{name}.0.norm_context")
        key, value = linear(context, f"{name}.0.fn.to_kv").chunk(2, dim=-1)
        query, key, value = (part.reshape(part.shape[0], heads, -1).transpose(0, 1) for part in (query, key, value))
        mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value).transpose(0, 1).flatten(1)
        hiddens = linear(mixed, f"{name}.0.fn.to_out") + hiddens
        x, gates = linear(norm(hiddens, f"{name}.1.norm"), f"{name}.1.fn.net.0").chunk(2, dim=-1)
        return linear(x * torch.nn.functional.gelu(gates), f"{name}.1.fn.net.2") + hiddens

    def vector(ids: list[int], skipped: int) -> torch.Tensor:
        return latent(hidden_states(decoder, ids))[skipped:].mean(0)

    def skipped(task: str) -> int:
        """As modeling_nvembed.py has it: len(tokenizer.tokenize(instruction)), counted from the beginning token on."""
        return len(tokenizer.encode(NV_PROMPTS[task], add_special_tokens=False).ids)

    return Reference(lambda text: tokenizer.encode(text).ids, vector, NV_PROMPTS, skipped)


# ---- stella ----


def dense(w: Weights, x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.linear(x, w["2_Dense_1024.linear.weight"], w["2_Dense_1024.linear.bias"])


def stella_1_5b(folder: str) -> Reference:
    w = read_weights(os.path.join(folder, "stella-1.5b-tiny.onnx"))
    vocabulary = qwen2_tokens()
    config = Qwen2Config(
        vocab_size=len(vocabulary.tokens), hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        rms_norm_eps=1e-6, rope_theta=1000000.0, max_position_embeddings=131072, sliding_window=None, attn_implementation="eager",
    )
    decoder = load(Qwen2Model(config), w, "")
    with tempfile.TemporaryDirectory() as scratch:
        with open(os.path.join(scratch, "vocab.json"), "w", encoding="utf-8") as out:
            json.dump({token: i for i, token in enumerate(vocabulary.tokens)}, out)
        with open(os.path.join(scratch, "merges.txt"), "w", encoding="utf-8") as out:
            out.write("#version: 0.2\n" + "\n".join(vocabulary.merges) + "\n")
        tokenizer = Qwen2TokenizerFast(os.path.join(scratch, "vocab.json"), os.path.join(scratch, "merges.txt"))
    end = vocabulary.id("<|endoftext|>")
    return Reference(lambda text: [*tokenizer(text)["input_ids"], end], lambda ids, skipped: dense(w, hidden_states(decoder, ids).mean(0)), STELLA_PROMPTS)


def stella_400m(folder: str) -> Reference:
    w = read_weights(os.path.join(folder, "stella-400m-tiny.onnx"))
    tokenizer = BertTokenizerFast(os.path.join(folder, "stella-400m-vocabulary-tiny.txt"), do_lower_case=True)
    heads, head, theta, factor = 4, 16, 160000.0, 2.0
    functional = torch.nn.functional

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-12)

    def encoder(ids: list[int]) -> torch.Tensor:
        inverse = 1.0 / ((theta * factor) ** (torch.arange(0, head, 2).float() / head)) / factor ** (2 / head)
        angles = torch.einsum("i,j->ij", torch.arange(len(ids)).float(), inverse).repeat(1, 2)
        cosines, sines = angles.cos()[:, None], angles.sin()[:, None]

        def rotated(x: torch.Tensor) -> torch.Tensor:
            first, second = x.chunk(2, dim=-1)
            return x * cosines + torch.cat((-second, first), dim=-1) * sines

        x = norm(w["embeddings.word_embeddings.weight"][ids] + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for layer in range(2):
            name = f"encoder.layer.{layer}"
            query, key, value = (part.view(len(ids), heads, head) for part in linear(x, f"{name}.attention.qkv_proj").split(heads * head, dim=-1))
            scores = torch.einsum("ihd,jhd->hij", rotated(query), rotated(key)) / head**0.5
            mixed = torch.einsum("hij,jhd->ihd", scores.softmax(-1), value).flatten(1)
            x = norm(x + linear(mixed, f"{name}.attention.o_proj"), f"{name}.attn_ln")
            up, gate = linear(x, f"{name}.mlp.up_gate_proj").chunk(2, dim=-1)
            x = norm(x + linear(functional.gelu(gate) * up, f"{name}.mlp.down_proj"), f"{name}.mlp_ln")
        return x

    return Reference(lambda text: tokenizer(text)["input_ids"], lambda ids, skipped: dense(w, encoder(ids).mean(0)), STELLA_PROMPTS)


def write(path: str, reference: Reference) -> None:
    with open(path, "wb") as out:
        for task, prompt in {"-": "", **reference.prompts}.items():
            for text in TEXTS:
                ids = reference.encode(prompt + text)
                values = reference.vector(ids, 0 if task == "-" else reference.skipped(task))
                scale = 32767 / float(values.abs().max())
                out.write(f"{task} {len(text.encode())} {len(ids)} {len(values)}\n".encode() + text.encode() + b"\n")
                out.write(struct.pack(f"<{len(values)}h", *(round(float(value) * scale) for value in values)))
                print(f"{os.path.basename(path)}: {task} {text[:24]!r}: {len(ids)} tokens")


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 1
    with torch.no_grad():
        for name, make in {"nv-embed": nv_embed, "stella-400m": stella_400m, "stella-1.5b": stella_1_5b}.items():
            write(os.path.join(sys.argv[2], name + ".bin"), make(sys.argv[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
