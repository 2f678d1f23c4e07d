#!/usr/bin/env python3
"""What the tiny models answer by a second implementation, from the GGUF files themselves: three headers in tests/llama/reference.

    reference_gguf.py text KIMI-K2.gguf QWEN3-MOE.gguf PHI-4.gguf > catalogue_text.h
    reference_gguf.py vectors GTE-QWEN2.gguf > catalogue_gte_qwen2.h
    reference_gguf.py vectors JINA-V2.gguf > catalogue_jina_v2.h

Needs torch 2.5, transformers 4.51.3, tokenizers, jinja2, numpy and gguf; no test runs it. Keys and tensors are read with the gguf package. The models are
transformers' DeepseekV3ForCausalLM, Qwen3MoeForCausalLM, Phi3ForCausalLM and Qwen2Model, in float32 with eager attention and without a cache; the tokenizers
are the tokenizers package's byte-level BPE with the published split patterns, and transformers' BertTokenizer; the chat templates are run by jinja2.

Where this is not the published model's own code:
  Kimi-K2    publishes DeepSeek's modeling file; transformers' DeepseekV3 is its successor. Its tokenizer is tiktoken's, with ranks instead of merges.
  gte-Qwen2  publishes a Qwen2 of its own, whose attention looks both ways (is_causal=False); here it is transformers' Qwen2 with a mask of zeros.
  jina-v2    publishes its code beside the weights; here it is written anew in NumPy, in float64: BERT with ALiBi instead of positions, a gated feed-forward
             network with the exact GELU, mean pooling. llama.cpp approximates GELU by tanh.
  Templates  are the published ones without their default system messages and tools, which llama.cpp's C interface does not write either.
"""

from __future__ import annotations

import math
import sys
import tempfile
from typing import Any

import gguf
import jinja2
import numpy as np
import tokenizers
import torch
import transformers

TOKENS = 24
CHATS = [
    [("user", "Name three colours.")],
    [("system", "You are a careful gardener."), ("user", "Wie sp\u00e4t ist es? 12345 \u6771\u4eac \u2014 na\u00efve caf\u00e9s \U0001f331 it's 3.14")],
    [("user", "What grows in the forest?"), ("assistant", "moss and stone"), ("user", "int main(void)\n{\n    return 0; /* quiet */\n}\n\n  The end?")],
    [("user", " ".join("walk to the river and look at the water then go home by the old road past the mill number %d" % i for i in range(1, 12)))],
]
TEXTS = [
    "",
    "the moon over the quiet river",
    "the river over the quiet moon",
    "Cr\u00e8me br\u00fbl\u00e9e, na\u00efve fa\u00e7ade \u2014 42 \u20ac! \u6771\u4eac\u90fd \U0001f331",
    "void *malloc(size_t size); /* NULL when there is no memory */",
    " ".join("on day %d we walk from the green garden to the white tower and watch the boat on the lake until evening" % i for i in range(1, 31)),
]
# Prompts by task, as the cards have them.
PROMPTS = {"qwen2": [("query", "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: ")]}

GPT4 = r"|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
PATTERNS = {
    "qwen2": ENDINGS + GPT4 % r"\p{N}",
    "dbrx": ENDINGS + GPT4 % r"\p{N}{1,3}",
    "kimi-k2": r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?%s*%s+%s?|[^\r\n\p{L}\p{N}]?%s+%s*%s?" % (UPPER, LOWER, ENDINGS, UPPER, LOWER, ENDINGS)
    + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}


class File:
    """A GGUF file's keys and tensors, in numpy's order of dimensions."""

    def __init__(self, path: str) -> None:
        reader = gguf.GGUFReader(path)
        self.keys = {name: field.contents() for name, field in reader.fields.items()}
        self.architecture = self.keys["general.architecture"]
        self.tensors = {}
        for tensor in reader.tensors:
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            self.tensors[tensor.name] = values.astype(np.float32).reshape([int(size) for size in reversed(tensor.shape)])

    def key(self, name: str, otherwise: Any = None) -> Any:
        return self.keys.get(f"{self.architecture}.{name}", otherwise)

    def torch(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self.tensors[name].copy())


# ---- weights and settings, from one naming to the other ----

PLAIN = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_output": "self_attn.o_proj"}
NAMES = {
    "deepseek2": {
        "attn_q_a": "self_attn.q_a_proj", "attn_q_a_norm": "self_attn.q_a_layernorm", "attn_q_b": "self_attn.q_b_proj",
        "attn_kv_a_mqa": "self_attn.kv_a_proj_with_mqa", "attn_kv_a_norm": "self_attn.kv_a_layernorm", "ffn_gate_inp": "mlp.gate",
        "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "ffn_gate_shexp": "mlp.shared_experts.gate_proj",
        "ffn_up_shexp": "mlp.shared_experts.up_proj", "ffn_down_shexp": "mlp.shared_experts.down_proj",
    },
    "qwen3moe": {
        "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_q_norm": "self_attn.q_norm",
        "attn_k_norm": "self_attn.k_norm", "ffn_gate_inp": "mlp.gate",
    },
    "phi3": {"attn_qkv": "self_attn.qkv_proj", "ffn_up": "mlp.gate_up_proj", "ffn_down": "mlp.down_proj"},
    "qwen2": {
        "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    },
}  # fmt: skip


def state(file: File) -> dict[str, torch.Tensor]:
    out = {"model.embed_tokens.weight": file.torch("token_embd.weight"), "model.norm.weight": file.torch("output_norm.weight")}
    if "output.weight" in file.tensors:
        out["lm_head.weight"] = file.torch("output.weight")
    names = PLAIN | NAMES[file.architecture]
    for block in range(file.key("block_count")):
        to = f"model.layers.{block}."
        parts = {name.removeprefix(f"blk.{block}."): file.torch(name) for name in file.tensors if name.startswith(f"blk.{block}.")}
        if "attn_k_b.weight" in parts:
            # The published model has them in one: per head the keys' rows, then the values'.
            both = torch.cat([parts.pop("attn_k_b.weight").transpose(1, 2), parts.pop("attn_v_b.weight")], dim=1)
            out[to + "self_attn.kv_b_proj.weight"] = both.reshape(-1, both.shape[-1])
        if "exp_probs_b.bias" in parts:
            out[to + "mlp.gate.e_score_correction_bias"] = parts.pop("exp_probs_b.bias")
        for part in ("gate", "up", "down"):
            for expert, values in enumerate(parts.pop(f"ffn_{part}_exps.weight", ())):
                out[f"{to}mlp.experts.{expert}.{part}_proj.weight"] = values
        for name, values in parts.items():
            stem, end = name.rsplit(".", 1)
            out[f"{to}{names[stem]}.{end}"] = values
    return out


def settings(file: File) -> dict[str, Any]:
    out = dict(
        vocab_size=len(file.keys["tokenizer.ggml.tokens"]), hidden_size=file.key("embedding_length"), intermediate_size=file.key("feed_forward_length"),
        num_hidden_layers=file.key("block_count"), num_attention_heads=file.key("attention.head_count"), tie_word_embeddings=False,
        num_key_value_heads=file.key("attention.head_count_kv"), rms_norm_eps=file.key("attention.layer_norm_rms_epsilon"),
        rope_theta=file.key("rope.freq_base"), max_position_embeddings=file.key("context_length"), pad_token_id=0, attn_implementation="eager",
    )  # fmt: skip
    if file.key("expert_count"):
        out |= dict(moe_intermediate_size=file.key("expert_feed_forward_length"), num_experts_per_tok=file.key("expert_used_count"))
    if file.architecture == "deepseek2":
        assert file.key("expert_gating_func") == 2 and abs(file.key("rope.scaling.yarn_log_multiplier") - 0.1) < 1e-6
        rope = file.key("rope.dimension_count")
        out |= dict(
            num_key_value_heads=out["num_attention_heads"], q_lora_rank=file.key("attention.q_lora_rank"), kv_lora_rank=file.key("attention.kv_lora_rank"),
            qk_rope_head_dim=rope, qk_nope_head_dim=file.key("attention.key_length_mla") - rope, v_head_dim=file.key("attention.value_length_mla"),
            n_routed_experts=file.key("expert_count"), n_shared_experts=file.key("expert_shared_count"), n_group=1, topk_group=1,
            first_k_dense_replace=file.key("leading_dense_block_count"), norm_topk_prob=file.key("expert_weights_norm"),
            routed_scaling_factor=file.key("expert_weights_scale"),
            rope_scaling=dict(type="yarn", factor=file.key("rope.scaling.factor"), mscale=1.0, mscale_all_dim=1.0,
                              original_max_position_embeddings=file.key("rope.scaling.original_context_length"),
                              beta_fast=file.key("rope.scaling.yarn_beta_fast", 32.0), beta_slow=file.key("rope.scaling.yarn_beta_slow", 1.0)),
        )  # fmt: skip
    if file.architecture == "qwen3moe":
        out |= dict(head_dim=file.key("attention.key_length"), num_experts=file.key("expert_count"), norm_topk_prob=True)
    if file.architecture == "phi3":
        out |= dict(sliding_window=file.key("attention.sliding_window") or None, original_max_position_embeddings=out["max_position_embeddings"])
    return out


CLASSES = {
    "deepseek2": (transformers.DeepseekV3Config, transformers.DeepseekV3ForCausalLM),
    "qwen3moe": (transformers.Qwen3MoeConfig, transformers.Qwen3MoeForCausalLM),
    "phi3": (transformers.Phi3Config, transformers.Phi3ForCausalLM),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2Model),
}


def build(file: File) -> torch.nn.Module:
    config, kind = CLASSES[file.architecture]
    model = kind(config(**settings(file))).eval()
    values = state(file)
    if file.architecture == "qwen2":
        values = {name.removeprefix("model."): value for name, value in values.items()}
    model.load_state_dict(values, strict=True)
    return model


def byte_level(file: File) -> tokenizers.Tokenizer:
    tokens, types = file.keys["tokenizer.ggml.tokens"], file.keys["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in file.keys["tokenizer.ggml.merges"]]
    plain = {token: number for number, token in enumerate(tokens) if types[number] == 1}
    out = tokenizers.Tokenizer(tokenizers.models.BPE(plain, merges))
    pattern = tokenizers.Regex(PATTERNS[file.keys["tokenizer.ggml.pre"]])
    out.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [tokenizers.pre_tokenizers.Split(pattern, "isolated"), tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    out.decoder = tokenizers.decoders.ByteLevel()
    out.add_special_tokens([token for number, token in enumerate(tokens) if types[number] == 3])
    assert all(out.token_to_id(token) == number for number, token in enumerate(tokens))
    return out


# ---- text ----


def greedy(model: torch.nn.Module, prompt: list[int]) -> tuple[list[int], float]:
    tokens, margin = list(prompt), math.inf
    for _ in range(TOKENS):
        with torch.no_grad():
            logits = model(torch.tensor([tokens]), use_cache=False).logits[0, -1]
        best = torch.topk(logits, 2)
        margin = min(margin, float(best.values[0] - best.values[1]))
        tokens.append(int(best.indices[0]))
    return tokens[len(prompt) :], margin


def text_header(paths: list[str]) -> None:
    print(f"#define REFERENCE_TOKENS {TOKENS}")
    print("static const struct reference_text {\n    const char *architecture;\n    struct {\n        const char *role, *content;\n    } messages[4];")
    print("    unsigned prompt_tokens;\n    const char *answer; /* a token is a word */\n    double margin; /* the smallest between the two likeliest tokens */")
    print("} reference_texts[] = {")
    for path in paths:
        file = File(path)
        model, tokenizer = build(file), byte_level(file)
        template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(file.keys["tokenizer.chat_template"])
        for chat in CHATS:
            messages = [{"role": role, "content": content} for role, content in chat]
            prompt = tokenizer.encode(template.render(messages=messages, add_generation_prompt=True), add_special_tokens=False).ids
            answer, margin = greedy(model, prompt)
            text = tokenizer.decode(answer)
            assert len(text.split(" ")) == TOKENS + 1, "tokens and words are not one to one"
            print(f"{path}: {len(prompt)} tokens, {len(set(answer))} of {TOKENS} differ, margin {margin:.3f}: {text}", file=sys.stderr)
            rows = ",\n      ".join(f'{{"{role}", {literal(content)}}}' for role, content in chat)
            print(f'    {{"{file.architecture}",\n     {{{rows}}},\n     {len(prompt)},\n     {literal(text)},\n     {margin:.3f}}},')
    print("};")


# ---- vectors ----


def gte_vectors(file: File) -> list[tuple[str, str, int, np.ndarray]]:
    assert file.key("pooling_type") == 3 and file.key("attention.causal") is False and file.keys["tokenizer.ggml.add_eos_token"]
    model, tokenizer, out = build(file), byte_level(file), []
    for task, prefix in [("", ""), *PROMPTS[file.architecture]]:
        for text in TEXTS if not task else TEXTS[1:4:2]:
            tokens = tokenizer.encode(prefix + text, add_special_tokens=False).ids + [file.keys["tokenizer.ggml.eos_token_id"]]
            with torch.no_grad():
                mask = torch.zeros(1, 1, len(tokens), len(tokens))
                hidden = model(torch.tensor([tokens]), attention_mask=mask, use_cache=False).last_hidden_state
            out.append((task, text, len(tokens), hidden[0, -1].numpy().astype(np.float64)))
    return out


def slopes(heads: int) -> np.ndarray:
    """ALiBi's, also where the heads are no power of two (Press et al. 2021)."""

    def of_power(count: int) -> list[float]:
        start = 2.0 ** (-8.0 / count)
        return [start ** (i + 1) for i in range(count)]

    power = 2 ** math.floor(math.log2(heads))
    return np.array(of_power(power) + of_power(2 * power)[0::2][: heads - power])


def layer_norm(x: np.ndarray, file: File, name: str) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + file.key("attention.layer_norm_epsilon"))
    return scaled * file.tensors[name + ".weight"] + file.tensors[name + ".bias"]


def jina_vector(file: File, tokens: list[int]) -> np.ndarray:
    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ file.tensors[name + ".weight"].astype(np.float64).T + file.tensors.get(name + ".bias", 0.0)

    heads, count = file.key("attention.head_count"), len(tokens)
    positions = np.arange(count)
    bias = -slopes(heads)[:, None, None] * np.abs(positions[:, None] - positions[None, :])
    x = file.tensors["token_embd.weight"][tokens].astype(np.float64) + file.tensors["token_types.weight"][0]
    x = layer_norm(x, file, "token_embd_norm")
    for block in range(file.key("block_count")):
        name = f"blk.{block}."
        query, key, value = (linear(x, name + part).reshape(count, heads, -1).transpose(1, 0, 2) for part in ("attn_q", "attn_k", "attn_v"))
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1]) + bias
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (scores / scores.sum(-1, keepdims=True) @ value).transpose(1, 0, 2).reshape(count, -1)
        x = layer_norm(x + linear(mixed, name + "attn_output"), file, name + "attn_output_norm")
        gate = linear(x, name + "ffn_gate")
        gelu = 0.5 * gate * (1.0 + np.vectorize(math.erf)(gate / math.sqrt(2.0)))
        x = layer_norm(x + linear(gelu * linear(x, name + "ffn_up"), name + "ffn_down"), file, name + "layer_output_norm")
    return x.mean(0)


def jina_vectors(file: File) -> list[tuple[str, str, int, np.ndarray]]:
    assert file.key("pooling_type") == 1 and file.key("attention.causal") is False
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".txt") as vocabulary:
        for token, kind in zip(file.keys["tokenizer.ggml.tokens"], file.keys["tokenizer.ggml.token_type"]):
            vocabulary.write((token if kind == 3 else token[1:] if token[0] == "\u2581" else "##" + token) + "\n")
        vocabulary.flush()
        tokenizer = transformers.BertTokenizer(vocabulary.name, do_lower_case=True)
    encoded = [tokenizer(text)["input_ids"] for text in TEXTS]
    return [("", text, len(tokens), jina_vector(file, tokens)) for text, tokens in zip(TEXTS, encoded)]


def vector_header(paths: list[str]) -> None:
    """Numbers are in steps of a 999th of each vector's largest: the cosine to the exact vector is above 0.999999."""
    for path in paths:
        file = File(path)
        rows = gte_vectors(file) if file.architecture == "qwen2" else jina_vectors(file)
        name, width = file.architecture.replace("-", "_"), len(rows[0][3])
        unit = np.array([vector / np.linalg.norm(vector) for *_, vector in rows])
        print(f"{path}: tokens {[row[2] for row in rows]}, cosines between texts\n{np.round(unit @ unit.T, 2)}", file=sys.stderr)
        print(f"#define REFERENCE_{name.upper()}_DIMENSION {width}\nstatic const struct reference_{name} {{")
        print(f"    const char *task, *text;\n    unsigned tokens;\n    short vector[{width}];\n}} reference_{name}s[] = {{")
        for task, text, tokens, vector in rows:
            numbers = [str(number) for number in np.round(vector / np.abs(vector).max() * 999).astype(int)]
            lines = ",\n      ".join(", ".join(numbers[i : i + 25]) for i in range(0, len(numbers), 25))
            print(f'    {{"{task}",\n     {literal(text)},\n     {tokens},\n     {{{lines}}}}},')
        print("};")


def literal(text: str) -> str:
    """A C string whose lines stay short; bytes outside ASCII in octal."""
    escaped = ["\\%03o" % b if b > 126 or b < 32 else {34: '\\"', 92: "\\\\"}.get(b, chr(b)) for b in text.encode()]
    lines = ["".join(escaped[i : i + 120]) for i in range(0, len(escaped), 120)] or [""]
    return "\n      ".join(f'"{line}"' for line in lines)


def main() -> int:
    commands = {"text": text_header, "vectors": vector_header}
    if len(sys.argv) < 3 or sys.argv[1] not in commands:
        print(__doc__, file=sys.stderr)
        return 1
    torch.manual_seed(0)
    print(f"/* What the tiny models answer by a second implementation. Made by tests/weights/reference_gguf.py {sys.argv[1]}, which says by which. */")
    commands[sys.argv[1]](sys.argv[2:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
