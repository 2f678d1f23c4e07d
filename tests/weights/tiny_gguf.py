#!/usr/bin/env python3
"""Small GGUF files of the catalogue's architectures, with the keys, tensor names and templates' markers of the published files and random weights.

    tiny_gguf.py NAME OUTPUT     NAME: kimi-k2, qwen3-moe, phi-4, gte-qwen2, jina-v2

What makes an architecture itself is as published: its kinds of layers, its attention, its experts' gating, rotary bases and scaling, context, tokenizer kind,
pooling; for embeddings the dimension too. What only makes it large is small: layers, widths, experts, vocabulary. Python's standard library alone; the same
bytes everywhere. reference_gguf.py says what they answer.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Callable, NamedTuple

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "weights"))
from gguf_writer import BOOL, FLOAT32, STRING, UINT32, Metadata, write_gguf
from tiny_random import Maker
from tiny_tokens import Bpe, byte_level_bpe, put_bpe, put_wordpieces, wordpieces

POOLING_MEAN, POOLING_LAST = 1, 3
GATING_SIGMOID = 2
ALL_F32, MOSTLY_F16, MOSTLY_Q4_0 = 0, 1, 2


class Model(NamedTuple):
    """One file in the making. A number is written under the architecture's name."""

    architecture: str
    metadata: Metadata
    maker: Maker

    def numbers(self, **values: int) -> None:
        for key, value in values.items():
            self.metadata.put(f"{self.architecture}.{key.replace('__', '.')}", UINT32, value)

    def floats(self, **values: float) -> None:
        for key, value in values.items():
            self.metadata.put(f"{self.architecture}.{key.replace('__', '.')}", FLOAT32, value)

    def put(self, key: str, kind: int, value: Any) -> None:
        self.metadata.put(f"{self.architecture}.{key}", kind, value)


def begin(architecture: str, name: str, seed: str, file_type: int) -> Model:
    metadata = Metadata()
    metadata.put("general.architecture", STRING, architecture)
    metadata.put("general.type", STRING, "model")
    metadata.put("general.name", STRING, name)
    metadata.put("general.file_type", UINT32, file_type)
    metadata.put("general.quantization_version", UINT32, 2)
    return Model(architecture, metadata, Maker(seed))


def chat_tokens(model: Model, specials: list[str], pre: str, template: str, **roles: str) -> Bpe:
    vocabulary = byte_level_bpe(specials)
    put_bpe(model.metadata, vocabulary, pre, roles)
    model.metadata.put("tokenizer.ggml.add_bos_token", BOOL, False)
    model.metadata.put("tokenizer.chat_template", STRING, template)
    return vocabulary


def head_and_tail(model: Model, vocabulary: Bpe, width: int) -> None:
    model.maker.matrix("token_embd.weight", [len(vocabulary.tokens), width], width**0.5)
    model.maker.vector("output_norm.weight", width, 0.2, 1.0)
    model.maker.rows("output.weight", len(vocabulary.tokens), width, vocabulary.answers())


# ---- Kimi-K2-Instruct: DeepSeek's architecture ----

KIMI_TEMPLATE = (
    "{%- for message in messages -%}{%- if message['role'] == 'system' -%}<|im_system|>system<|im_middle|>{%- elif message['role'] == 'user' -%}"
    "<|im_user|>user<|im_middle|>{%- elif message['role'] == 'assistant' -%}<|im_assistant|>assistant<|im_middle|>{%- endif -%}"
    "{{ message['content'] }}<|im_end|>{%- endfor -%}{%- if add_generation_prompt -%}<|im_assistant|>assistant<|im_middle|>{%- endif -%}"
)


def mla_block(maker: Maker, name: str, width: int, heads: int, q_rank: int, kv_rank: int, nope: int, rope: int, value: int) -> None:
    """Multi-head latent attention; the up-projection of keys and values is split, so that keys and values themselves are never made."""
    maker.vector(f"{name}.attn_norm.weight", width, 0.2, 1.0)
    maker.matrix(f"{name}.attn_q_a.weight", [q_rank, width])
    maker.vector(f"{name}.attn_q_a_norm.weight", q_rank, 0.2, 1.0)
    maker.matrix(f"{name}.attn_q_b.weight", [heads * (nope + rope), q_rank], 1.3)
    maker.matrix(f"{name}.attn_kv_a_mqa.weight", [kv_rank + rope, width], 1.3)
    maker.vector(f"{name}.attn_kv_a_norm.weight", kv_rank, 0.2, 1.0)
    maker.matrix(f"{name}.attn_k_b.weight", [heads, kv_rank, nope], (nope / kv_rank) ** 0.5)
    maker.matrix(f"{name}.attn_v_b.weight", [heads, value, kv_rank])
    maker.matrix(f"{name}.attn_output.weight", [width, heads * value], 1.2)


def gated(maker: Maker, name: str, end: str, width: int, inner: int, experts: int = 0, gain: float = 2.0, type_name: str = "f32") -> None:
    """A feed-forward network with a gate, or several in one tensor."""
    many = [experts] if experts else []
    maker.matrix(f"{name}.ffn_gate{end}.weight", [*many, inner, width], 1.0, type_name)
    maker.matrix(f"{name}.ffn_up{end}.weight", [*many, inner, width], 1.0, type_name)
    maker.matrix(f"{name}.ffn_down{end}.weight", [*many, width, inner], gain, type_name)


def kimi_k2() -> Model:
    model = begin("deepseek2", "Kimi K2 tiny", "kimi-k2 28", ALL_F32)
    width, heads, blocks, dense, experts, inner = 96, 4, 4, 1, 12, 48
    q_rank, kv_rank, nope, rope, value = 48, 32, 16, 16, 16
    model.numbers(block_count=blocks, context_length=131072, embedding_length=width, feed_forward_length=160)
    model.numbers(attention__head_count=heads, attention__head_count_kv=1, leading_dense_block_count=dense)
    model.floats(rope__freq_base=50000.0, attention__layer_norm_rms_epsilon=1e-6)
    model.numbers(expert_used_count=4, expert_count=experts, expert_shared_count=1, expert_feed_forward_length=inner, expert_gating_func=GATING_SIGMOID)
    model.numbers(expert_group_count=1, expert_group_used_count=1)
    model.floats(expert_weights_scale=2.827)
    model.put("expert_weights_norm", BOOL, True)
    model.numbers(attention__q_lora_rank=q_rank, attention__kv_lora_rank=kv_rank, attention__key_length=kv_rank + rope, attention__value_length=kv_rank)
    model.numbers(attention__key_length_mla=nope + rope, attention__value_length_mla=value, rope__dimension_count=rope)
    model.put("rope.scaling.type", STRING, "yarn")
    model.floats(rope__scaling__factor=32.0, rope__scaling__yarn_log_multiplier=0.1, rope__scaling__yarn_beta_fast=1.0, rope__scaling__yarn_beta_slow=1.0)
    model.numbers(rope__scaling__original_context_length=4096)
    specials = ["[BOS]", "[EOS]", "<|im_end|>", "<|im_user|>", "<|im_assistant|>", "<|im_system|>", "<|im_middle|>", "[UNK]", "[PAD]"]
    vocabulary = chat_tokens(model, specials, "kimi-k2", KIMI_TEMPLATE, bos="[BOS]", eos="<|im_end|>", padding="[PAD]")
    model.numbers(vocab_size=len(vocabulary.tokens))
    head_and_tail(model, vocabulary, width)
    for block in range(blocks):
        name = f"blk.{block}"
        mla_block(model.maker, name, width, heads, q_rank, kv_rank, nope, rope, value)
        model.maker.vector(f"{name}.ffn_norm.weight", width, 0.2, 1.0)
        if block < dense:
            gated(model.maker, name, "", width, 160)
            continue
        model.maker.matrix(f"{name}.ffn_gate_inp.weight", [experts, width])
        model.maker.vector(f"{name}.exp_probs_b.bias", experts, 0.1)
        gated(model.maker, name, "_exps", width, inner, experts, 1.5)
        gated(model.maker, name, "_shexp", width, inner)
    return model


# ---- Qwen3-Coder-30B-A3B-Instruct ----

CHATML_TEMPLATE = (
    "{%- for message in messages -%}{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


def grouped_attention(maker: Maker, name: str, width: int, heads: int, kv_heads: int, head: int, out: float = 1.2, big: str = "f32") -> None:
    maker.vector(f"{name}.attn_norm.weight", width, 0.2, 1.0)
    maker.matrix(f"{name}.attn_q.weight", [heads * head, width], 1.3, big)
    maker.matrix(f"{name}.attn_k.weight", [kv_heads * head, width], 1.3, big)
    maker.matrix(f"{name}.attn_v.weight", [kv_heads * head, width], 1.0, big)
    maker.matrix(f"{name}.attn_output.weight", [width, heads * head], out, big)


def qwen3_moe() -> Model:
    model = begin("qwen3moe", "Qwen3 MoE tiny", "qwen3-moe 64", ALL_F32)
    width, heads, kv_heads, head, blocks, experts, inner = 96, 4, 2, 32, 4, 16, 32
    model.numbers(block_count=blocks, context_length=262144, embedding_length=width, feed_forward_length=256)
    model.numbers(attention__head_count=heads, attention__head_count_kv=kv_heads, attention__key_length=head, attention__value_length=head)
    model.floats(rope__freq_base=1e7, attention__layer_norm_rms_epsilon=1e-6)
    model.numbers(expert_count=experts, expert_used_count=4, expert_feed_forward_length=inner)
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocabulary = chat_tokens(model, specials, "qwen2", CHATML_TEMPLATE, bos="<|endoftext|>", eos="<|im_end|>", padding="<|endoftext|>")
    head_and_tail(model, vocabulary, width)
    for block in range(blocks):
        name = f"blk.{block}"
        grouped_attention(model.maker, name, width, heads, kv_heads, head)
        model.maker.vector(f"{name}.attn_q_norm.weight", head, 0.3, 1.4)
        model.maker.vector(f"{name}.attn_k_norm.weight", head, 0.3, 1.4)
        model.maker.vector(f"{name}.ffn_norm.weight", width, 0.2, 1.0)
        model.maker.matrix(f"{name}.ffn_gate_inp.weight", [experts, width], 1.5)
        gated(model.maker, name, "_exps", width, inner, experts, 2.5)
    return model


# ---- Phi-4-reasoning: Phi-3's architecture ----

PHI_TEMPLATE = (
    "{%- for message in messages -%}{{- '<|im_start|>' + message['role'] + '<|im_sep|>' + message['content'] + '<|im_end|>' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant<|im_sep|>' -}}{%- endif -%}"
)


def phi_4() -> Model:
    model = begin("phi3", "Phi 4 reasoning tiny", "phi-4 142", ALL_F32)
    width, heads, kv_heads, blocks, inner = 128, 4, 1, 4, 192
    head = width // heads
    model.numbers(context_length=32768, rope__scaling__original_context_length=32768, embedding_length=width, feed_forward_length=inner, block_count=blocks)
    model.numbers(attention__head_count=heads, attention__head_count_kv=kv_heads, rope__dimension_count=head, attention__sliding_window=0)
    model.floats(rope__freq_base=500000.0, attention__layer_norm_rms_epsilon=1e-5)
    specials = ["<|endoftext|>", "<|fim_prefix|>", "<|im_start|>", "<|im_end|>", "<|im_sep|>", "<|dummy_85|>"]
    vocabulary = chat_tokens(model, specials, "dbrx", PHI_TEMPLATE, bos="<|endoftext|>", eos="<|im_end|>", padding="<|dummy_85|>", unknown="<|endoftext|>")
    head_and_tail(model, vocabulary, width)
    for block in range(blocks):
        name = f"blk.{block}"
        model.maker.vector(f"{name}.attn_norm.weight", width, 0.2, 1.0)
        model.maker.matrix(f"{name}.attn_qkv.weight", [(heads + 2 * kv_heads) * head, width], 1.3)
        model.maker.matrix(f"{name}.attn_output.weight", [width, heads * head], 1.2)
        model.maker.vector(f"{name}.ffn_norm.weight", width, 0.2, 1.0)
        model.maker.matrix(f"{name}.ffn_up.weight", [2 * inner, width])
        model.maker.matrix(f"{name}.ffn_down.weight", [width, inner], 2.0)
    return model


# ---- gte-Qwen2-1.5B-instruct ----


def gte_qwen2() -> Model:
    model = begin("qwen2", "gte Qwen2 instruct tiny", "gte-qwen2 1", MOSTLY_Q4_0)
    width, heads, kv_heads, head, blocks, inner = 1536, 12, 2, 128, 2, 64
    model.numbers(block_count=blocks, context_length=131072, embedding_length=width, feed_forward_length=inner)
    model.numbers(attention__head_count=heads, attention__head_count_kv=kv_heads, pooling_type=POOLING_LAST)
    model.put("attention.causal", BOOL, False)
    model.floats(rope__freq_base=1e6, attention__layer_norm_rms_epsilon=1e-6)
    vocabulary = byte_level_bpe(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    put_bpe(model.metadata, vocabulary, "qwen2", {"bos": "<|endoftext|>", "eos": "<|endoftext|>", "padding": "<|endoftext|>"})
    model.metadata.put("tokenizer.ggml.add_bos_token", BOOL, False)
    model.metadata.put("tokenizer.ggml.add_eos_token", BOOL, True)
    model.maker.matrix("token_embd.weight", [len(vocabulary.tokens), width], width**0.5, "f16")
    model.maker.vector("output_norm.weight", width, 0.2, 1.0)
    for block in range(blocks):
        name = f"blk.{block}"
        grouped_attention(model.maker, name, width, heads, kv_heads, head, 2.0, "q4_0")
        for part, size in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
            model.maker.vector(f"{name}.attn_{part}.bias", size * head, 0.1)
        model.maker.vector(f"{name}.ffn_norm.weight", width, 0.2, 1.0)
        gated(model.maker, name, "", width, inner, 0, 2.0, "f16")
    return model


# ---- jina-embeddings-v2-base-en ----


def jina_v2() -> Model:
    model = begin("jina-bert-v2", "jina embeddings v2 base en tiny", "jina-v2 1", MOSTLY_F16)
    width, heads, blocks, inner = 768, 12, 2, 64
    model.numbers(block_count=blocks, context_length=8192, embedding_length=width, feed_forward_length=inner, attention__head_count=heads)
    model.floats(attention__layer_norm_epsilon=1e-12)
    model.put("attention.causal", BOOL, False)
    model.numbers(pooling_type=POOLING_MEAN)
    vocabulary = wordpieces()
    model.metadata.put("tokenizer.ggml.token_type_count", UINT32, 2)
    put_wordpieces(model.metadata, vocabulary, "jina-v2-en")
    maker = model.maker
    maker.matrix("token_embd.weight", [len(vocabulary), width], width**0.5, "f16")
    maker.matrix("token_types.weight", [2, width], 0.3 * width**0.5)
    maker.vector("token_embd_norm.weight", width, 0.2, 1.0)
    maker.vector("token_embd_norm.bias", width, 0.2)
    for block in range(blocks):
        name = f"blk.{block}"
        for part, gain in (("q", 1.3), ("k", 1.3), ("v", 1.0), ("output", 2.0)):
            maker.matrix(f"{name}.attn_{part}.weight", [width, width], gain, "f16")
            maker.vector(f"{name}.attn_{part}.bias", width, 0.1)
        maker.vector(f"{name}.attn_output_norm.weight", width, 0.2, 1.0)
        maker.vector(f"{name}.attn_output_norm.bias", width, 0.2)
        maker.matrix(f"{name}.ffn_up.weight", [inner, width], 1.0, "f16")
        maker.matrix(f"{name}.ffn_gate.weight", [inner, width], 1.0, "f16")
        maker.matrix(f"{name}.ffn_down.weight", [width, inner], 2.0, "f16")
        maker.vector(f"{name}.ffn_down.bias", width, 0.1)
        maker.vector(f"{name}.layer_output_norm.weight", width, 0.2, 1.0)
        maker.vector(f"{name}.layer_output_norm.bias", width, 0.2)
    return model


MODELS: dict[str, Callable[[], Model]] = {"kimi-k2": kimi_k2, "qwen3-moe": qwen3_moe, "phi-4": phi_4, "gte-qwen2": gte_qwen2, "jina-v2": jina_v2}


def main() -> int:
    if len(sys.argv) != 3 or sys.argv[1] not in MODELS:
        print(__doc__, file=sys.stderr)
        return 1
    try:
        model = MODELS[sys.argv[1]]()
        write_gguf(sys.argv[2], model.metadata, model.maker.tensors)
    except (OSError, ValueError) as error:
        print(f"tiny_gguf.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
