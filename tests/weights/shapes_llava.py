#!/usr/bin/env python3
"""shapes-llava.gguf and shapes-llava-mmproj.gguf: a LLaVA that says which coloured shape a picture shows; trains it, measures it, writes it.

    shapes_llava.py train OUT.npz [--steps N] [--start IN.npz]     trains it (torch)
    shapes_llava.py export WEIGHTS.npz LLM.gguf MMPROJ.gguf        writes the two files (numpy; the same bytes from the same weights)
    shapes_llava.py evaluate LLM.gguf MMPROJ.gguf [--pictures N] [--write FOLDER]
                                                                   captions pictures that it has not seen (torch), and writes them as PNG

The architecture is that of LLaVA-1.5 (Liu et al. 2023, "Improved Baselines with Visual Instruction Tuning") made small: a CLIP vision tower (patches of 14
of 56 pixels, width 64; the output of the block before the last, without the class token, as llama.cpp's libmtmd computes it), a projector of two layers with
GELU ("mlp"), and a llama language model (2 blocks, width 64, RMS norm, rotary positions in adjacent pairs, SwiGLU). The language model's tokens are a
SentencePiece vocabulary with byte fallback: single characters, and a few words, each reachable by merging letter after letter.

Whatever is asked, in whichever form (`random_prompt`), it is trained to answer "a COLOUR SHAPE", six colours and three shapes (examples/pictures/shapes.py),
in turn with the class token where LLaVA has it and where llama.cpp v0.5.0 has it. README.md tells how the committed files were trained. Training again gives
other weights, as torch's floats differ from machine to machine.
"""

from __future__ import annotations

import argparse
import math
import os
import struct
import sys
from collections import Counter
from typing import NamedTuple

import numpy as np

EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples")
sys.path[:0] = [os.path.join(EXAMPLES, "weights"), os.path.join(EXAMPLES, "pictures")]
import gguf_writer as gguf
import shapes

# The language model.
WIDTH, HEADS, MLP, BLOCKS, CONTEXT = 64, 2, 128, 2, 512
ROPE_BASE = 10000.0
# The vision tower; its last block is there, as libmtmd wants it, but not used.
VISION_WIDTH, VISION_HEADS, VISION_MLP, VISION_BLOCKS = 64, 2, 128, 3
IMAGE, PATCH = 56, 14
PATCHES = (IMAGE // PATCH) ** 2
EPSILON = 1e-5

WORDS = (
    "a an the is of in on and red green blue yellow white black square circle triangle image picture what colour shape describe this it user assistant"
).split()
QUESTIONS = (
    "what is in the image?", "what is in the picture?", "describe the picture.", "describe this image", "what is this?", "what colour is the shape?",
    "what do you see?", "what can you see in this picture?", "which colour and which shape is it?", "describe the image in a few words.",
    "tell me what this shows", "describe it",
)  # fmt: skip
# Of these, and of words made of random letters, questions are made that mean nothing, so that no question is quite unknown.
OTHER_WORDS = (
    "a an the is of in on and image picture what colour shape describe this it there one for me tell about please can you see name say show which who where "
    "how many photo object thing do does we have here look at answer short sentence word form kind would like to know your"
).split()
# What stands around a question with its picture: nothing most of the time, else a chat template.
TEMPLATES = (("user: ", " assistant:"), ("USER: ", " ASSISTANT:"), ("User: ", "\nAssistant:"), ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"))
PLACES = ("first", "middle", "last")
CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'user' %}user: {{ m['content'] }} assistant:{% else %} {{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)

# SentencePiece's types of tokens, in llama.cpp's numbers.
NORMAL, UNKNOWN, CONTROL, UNUSED, BYTE = 1, 2, 3, 5, 6
SPACE = "\u2581"
BEGIN, END = 1, 2


# Tokens


class Vocabulary:
    """Tokens, scores and types, in the order of their numbers."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.scores: list[float] = []
        self.types: list[int] = []
        self.numbers: dict[str, int] = {}
        for token, kind in (("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)):
            self.add(token, 0, kind)
        for byte in range(256):
            self.add(f"<0x{byte:02X}>", 0, BYTE)
        for character in [SPACE] + [chr(code) for code in range(33, 127)]:
            self.add(character, -1000, NORMAL)
        for word in WORDS:
            for length in range(1, len(word) + 1):
                self.add(SPACE + word[:length], -100 + length, NORMAL)
        while len(self.tokens) % 32:
            self.add(f"<pad{len(self.tokens)}>", 0, UNUSED)

    def add(self, token: str, score: float, kind: int) -> None:
        if token not in self.numbers:
            self.numbers[token] = len(self.tokens)
            self.tokens.append(token)
            self.scores.append(float(score))
            self.types.append(kind)

    def encode(self, text: str) -> list[int]:
        """As SentencePiece merges here: the longest known beginning of a word, then single characters, or the bytes of those that are no tokens."""
        if not text:
            return []
        text, numbers, start = SPACE + text.replace(" ", SPACE), [], 0
        while start < len(text):
            length = 1
            while text[start] == SPACE and text[start : start + length + 1] in self.numbers and start + length < len(text):
                length += 1
            part = text[start : start + length]
            numbers += [self.numbers[part]] if part in self.numbers else [self.numbers[f"<0x{byte:02X}>"] for byte in part.encode()]
            start += length
        return numbers

    def decode(self, numbers: list[int]) -> str:
        return "".join(self.tokens[number] for number in numbers).replace(SPACE, " ").strip()


VOCABULARY = Vocabulary()


# Tensors


def tensor_shapes() -> tuple[dict[str, tuple], dict[str, tuple]]:
    """Names and shapes of the language model's tensors and of the vision tower's, in the order of the files."""
    language: dict[str, tuple] = {"token_embd.weight": (len(VOCABULARY.tokens), WIDTH)}
    for block in range(BLOCKS):
        name = f"blk.{block}."
        language.update({name + norm: (WIDTH,) for norm in ("attn_norm.weight", "ffn_norm.weight")})
        language.update({f"{name}attn_{part}.weight": (WIDTH, WIDTH) for part in ("q", "k", "v", "output")})
        language.update({name + "ffn_gate.weight": (MLP, WIDTH), name + "ffn_up.weight": (MLP, WIDTH), name + "ffn_down.weight": (WIDTH, MLP)})
    language.update({"output_norm.weight": (WIDTH,), "output.weight": (len(VOCABULARY.tokens), WIDTH)})

    vision: dict[str, tuple] = {"v.class_embd": (VISION_WIDTH,), "v.patch_embd.weight": (VISION_WIDTH, 3, PATCH, PATCH)}
    vision["v.position_embd.weight"] = (PATCHES + 1, VISION_WIDTH)

    def norm(name: str) -> None:
        vision.update({name + ".weight": (VISION_WIDTH,), name + ".bias": (VISION_WIDTH,)})

    def linear(name: str, outputs: int, inputs: int) -> None:
        vision.update({name + ".weight": (outputs, inputs), name + ".bias": (outputs,)})

    norm("v.pre_ln")
    for block in range(VISION_BLOCKS):
        name = f"v.blk.{block}."
        norm(name + "ln1")
        norm(name + "ln2")
        for part in ("q", "k", "v", "out"):
            linear(f"{name}attn_{part}", VISION_WIDTH, VISION_WIDTH)
        linear(name + "ffn_up", VISION_MLP, VISION_WIDTH)
        linear(name + "ffn_down", VISION_WIDTH, VISION_MLP)
    linear("mm.0", WIDTH, VISION_WIDTH)
    linear("mm.2", WIDTH, WIDTH)
    return language, vision


# Writing and reading GGUF


def file_tensors(shapes_of: dict[str, tuple], weights: dict[str, np.ndarray]) -> list[gguf.Tensor]:
    """Matrices in f16, the rest in f32."""
    tensors = []
    for name, shape in shapes_of.items():
        kind = "f16" if len(shape) > 1 and name != "v.position_embd.weight" else "f32"
        data = np.ascontiguousarray(weights[name], "<f2" if kind == "f16" else "<f4").tobytes()
        tensors.append(gguf.Tensor(name, shape, kind, lambda data=data: iter([data])))
    return tensors


def language_metadata() -> gguf.Metadata:
    metadata = gguf.Metadata()
    metadata.put("general.architecture", gguf.STRING, "llama")
    metadata.put("general.name", gguf.STRING, "tiny-llava-llm")
    metadata.put("llama.context_length", gguf.UINT32, CONTEXT)
    metadata.put("llama.embedding_length", gguf.UINT32, WIDTH)
    metadata.put("llama.block_count", gguf.UINT32, BLOCKS)
    metadata.put("llama.feed_forward_length", gguf.UINT32, MLP)
    metadata.put("llama.attention.head_count", gguf.UINT32, HEADS)
    metadata.put("llama.attention.head_count_kv", gguf.UINT32, HEADS)
    metadata.put("llama.attention.layer_norm_rms_epsilon", gguf.FLOAT32, EPSILON)
    metadata.put("llama.rope.dimension_count", gguf.UINT32, WIDTH // HEADS)
    metadata.put("llama.vocab_size", gguf.UINT32, len(VOCABULARY.tokens))
    metadata.put("general.file_type", gguf.UINT32, gguf.TENSOR_TYPES["f16"].file_type)
    metadata.put("tokenizer.ggml.model", gguf.STRING, "llama")
    metadata.put_array("tokenizer.ggml.tokens", gguf.STRING, VOCABULARY.tokens)
    metadata.put_array("tokenizer.ggml.scores", gguf.FLOAT32, VOCABULARY.scores)
    metadata.put_array("tokenizer.ggml.token_type", gguf.INT32, VOCABULARY.types)
    for role, number in (("unknown", 0), ("bos", BEGIN), ("eos", END)):
        metadata.put(f"tokenizer.ggml.{role}_token_id", gguf.UINT32, number)
    metadata.put("tokenizer.ggml.add_bos_token", gguf.BOOL, True)
    metadata.put("tokenizer.ggml.add_eos_token", gguf.BOOL, False)
    metadata.put("tokenizer.chat_template", gguf.STRING, CHAT_TEMPLATE)
    return metadata


def vision_metadata() -> gguf.Metadata:
    metadata = gguf.Metadata()
    metadata.put("general.architecture", gguf.STRING, "clip")
    metadata.put("general.type", gguf.STRING, "mmproj")
    metadata.put("general.name", gguf.STRING, "tiny-llava-mmproj")
    metadata.put("general.file_type", gguf.UINT32, gguf.TENSOR_TYPES["f16"].file_type)
    metadata.put("clip.has_vision_encoder", gguf.BOOL, True)
    metadata.put("clip.projector_type", gguf.STRING, "mlp")
    metadata.put("clip.use_gelu", gguf.BOOL, False)
    metadata.put("clip.vision.image_size", gguf.UINT32, IMAGE)
    metadata.put("clip.vision.patch_size", gguf.UINT32, PATCH)
    metadata.put("clip.vision.embedding_length", gguf.UINT32, VISION_WIDTH)
    metadata.put("clip.vision.feed_forward_length", gguf.UINT32, VISION_MLP)
    metadata.put("clip.vision.block_count", gguf.UINT32, VISION_BLOCKS)
    metadata.put("clip.vision.projection_dim", gguf.UINT32, WIDTH)
    metadata.put("clip.vision.attention.head_count", gguf.UINT32, VISION_HEADS)
    metadata.put("clip.vision.attention.layer_norm_epsilon", gguf.FLOAT32, EPSILON)
    metadata.put_array("clip.vision.image_mean", gguf.FLOAT32, shapes.CLIP_MEAN.tolist())
    metadata.put_array("clip.vision.image_std", gguf.FLOAT32, shapes.CLIP_STD.tolist())
    return metadata


def export(weights: dict[str, np.ndarray], language_path: str, vision_path: str) -> None:
    language, vision = tensor_shapes()
    gguf.write_gguf(language_path, language_metadata(), file_tensors(language, weights))
    gguf.write_gguf(vision_path, vision_metadata(), file_tensors(vision, weights))


def read_weights(path: str, shapes_of: dict[str, tuple], metadata: gguf.Metadata) -> dict[str, np.ndarray]:
    """Reads back what `export` wrote, which has this very metadata and these tensors: the data is the end of the file."""
    tensors = file_tensors(shapes_of, {name: np.zeros(shape) for name, shape in shapes_of.items()})
    sizes = [tensor.size() + gguf.padding(tensor.size()) for tensor in tensors]
    with open(path, "rb") as file:
        content = file.read()
    start = len(content) - sum(sizes)
    if struct.unpack_from("<QQ", content, 8) != (len(tensors), metadata.count) or content[24 : 24 + len(metadata.data)] != metadata.data:
        raise ValueError(f"{path} was not written by this script")
    weights = {}
    for tensor, size in zip(tensors, sizes):
        kind = "<f2" if tensor.type_name == "f16" else "<f4"
        values = np.frombuffer(content, kind, math.prod(tensor.shape), start)
        weights[tensor.name] = values.reshape(tensor.shape).astype(np.float32)
        start += size
    return weights


def read_files(language_path: str, vision_path: str) -> dict[str, np.ndarray]:
    language, vision = tensor_shapes()
    return {**read_weights(language_path, language, language_metadata()), **read_weights(vision_path, vision, vision_metadata())}


# The model in torch


class Prompt(NamedTuple):
    """The text around a picture."""

    form: str
    before: str
    after: str


class Model:
    """The forward pass, as llama.cpp and libmtmd compute it."""

    def __init__(self, torch, weights: dict) -> None:
        self.torch, self.weights = torch, weights
        frequencies = ROPE_BASE ** (-torch.arange(0, WIDTH // HEADS, 2).float() / (WIDTH // HEADS))
        self.angles = torch.arange(CONTEXT).float()[:, None] * frequencies

    def linear(self, x, name: str):
        return self.torch.nn.functional.linear(x, self.weights[name + ".weight"], self.weights.get(name + ".bias"))

    def layer_norm(self, x, name: str):
        return self.torch.nn.functional.layer_norm(x, (VISION_WIDTH,), self.weights[name + ".weight"], self.weights[name + ".bias"], EPSILON)

    def rms_norm(self, x, name: str):
        return x * self.torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPSILON) * self.weights[name + ".weight"]

    def embed(self, numbers):
        return self.torch.nn.functional.embedding(numbers, self.weights["token_embd.weight"])

    def rotate(self, x):
        cosine, sine = self.angles[: x.shape[2]].cos(), self.angles[: x.shape[2]].sin()
        even, odd = x[..., 0::2], x[..., 1::2]
        return self.torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], -1).flatten(-2)

    def attend(self, query, key, value, mask=None):
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        mixed = (scores if mask is None else scores + mask).softmax(-1) @ value
        return mixed.transpose(1, 2).flatten(2)

    def heads(self, x, name: str, count: int):
        x = self.linear(x, name)
        return x.view(x.shape[0], x.shape[1], count, -1).transpose(1, 2)

    def vision(self, pictures, class_last: bool):
        """In LLaVA the class token comes first, and its row is left out of the result. llama.cpp v0.5.0 puts it behind the patches (`class_last`), but
        numbers the positions from the front and leaves out the first row all the same."""
        torch = self.torch
        x = torch.nn.functional.conv2d(pictures, self.weights["v.patch_embd.weight"], stride=PATCH).flatten(2).transpose(1, 2)
        token = self.weights["v.class_embd"].expand(x.shape[0], 1, -1)
        x = torch.cat([x, token] if class_last else [token, x], 1) + self.weights["v.position_embd.weight"]
        x = self.layer_norm(x, "v.pre_ln")
        for block in range(VISION_BLOCKS - 1):
            name = f"v.blk.{block}."
            y = self.layer_norm(x, name + "ln1")
            parts = (self.heads(y, f"{name}attn_{part}", VISION_HEADS) for part in ("q", "k", "v"))
            x = x + self.linear(self.attend(*parts), name + "attn_out")
            y = self.linear(self.layer_norm(x, name + "ln2"), name + "ffn_up")
            x = x + self.linear(y * torch.sigmoid(1.702 * y), name + "ffn_down")
        y = self.linear(x[:, 1:], "mm.0")
        y = 0.5 * y * (1 + torch.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3)))
        return self.linear(y, "mm.2")

    def language(self, x):
        torch = self.torch
        mask = torch.full((x.shape[1], x.shape[1]), -1e9).triu(1)
        for block in range(BLOCKS):
            name = f"blk.{block}."
            y = self.rms_norm(x, name + "attn_norm")
            query, key, value = (self.heads(y, f"{name}attn_{part}", HEADS) for part in ("q", "k", "v"))
            x = x + self.linear(self.attend(self.rotate(query), self.rotate(key), value, mask), name + "attn_output")
            y = self.rms_norm(x, name + "ffn_norm")
            gate = torch.nn.functional.silu(self.linear(y, name + "ffn_gate"))
            x = x + self.linear(gate * self.linear(y, name + "ffn_up"), name + "ffn_down")
        return self.linear(self.rms_norm(x, "output_norm"), "output")

    def logits(self, seen, prompt: Prompt, answers):
        """Of the tokens that follow the prompt and the answers so far, one answer for each picture that `vision` has seen. The texts before and after a
        picture are tokenised by themselves, as libmtmd does it."""
        torch, count = self.torch, seen.shape[0]
        before = torch.tensor([[BEGIN] + VOCABULARY.encode(prompt.before)] * count)
        after = torch.tensor([VOCABULARY.encode(prompt.after)] * count, dtype=torch.long)
        x = torch.cat([self.embed(before), seen, self.embed(after), self.embed(answers)], 1)
        return self.language(x)[:, -1 - answers.shape[1] :]


# Training and measuring


def random_question(random: np.random.Generator) -> str:
    if random.random() < 0.7:
        question = str(random.choice(QUESTIONS)).rstrip("?.")
    else:
        letters = "".join(random.choice(list("abcdefghijklmnopqrstuvwxyz"), random.integers(1, 9)))
        words = [str(word) for word in random.choice(OTHER_WORDS, random.integers(1, 8))] + [letters] * random.integers(0, 2)
        question = " ".join(random.permutation(words))
    letters = random.random()
    question = question[0].upper() + question[1:] if letters < 0.5 else question.upper() if letters < 0.55 else question
    return question + str(random.choice(("?", ".", "", "!"), p=(0.4, 0.3, 0.25, 0.05)))


def random_prompt(random: np.random.Generator) -> Prompt:
    question, place = random_question(random), str(random.choice(PLACES, p=(0.6, 0.2, 0.2)))
    words, space = question.split(" "), str(random.choice(("", " ", "\n"), p=(0.6, 0.2, 0.2)))
    cut = random.integers(1, len(words)) if len(words) > 1 else 0
    split = {"first": ("", space + question), "middle": (" ".join(words[:cut]) + " ", " ".join(words[cut:])), "last": (question + space, "")}[place]
    if random.random() < 0.6:
        return Prompt("bare, picture " + place, *split)
    opening, closing = TEMPLATES[random.choice(len(TEMPLATES), p=(0.55, 0.15, 0.15, 0.15))]
    return Prompt("template, picture " + place, opening + split[0], split[1] + closing)


def sample(random: np.random.Generator) -> tuple[np.ndarray, str, str]:
    colour, shape = random.choice(list(shapes.COLOURS)), random.choice(shapes.SHAPES)
    place = shapes.random_place(random, IMAGE, 11 / IMAGE, 22 / IMAGE)
    near, grey = shapes.near(random, shapes.COLOURS[colour]), shapes.random_grey(random, 110, 150)
    picture = shapes.draw(near, shape, IMAGE, place, grey, softness=max(0, random.uniform(-0.5, 2)))
    return shapes.finish(picture, random.normal(0, random.uniform(0, 4) / 255, picture.shape).astype(np.float32)), colour, shape


def normalised(torch, pictures: list[np.ndarray]):
    return torch.tensor(((np.stack(pictures) - shapes.CLIP_MEAN) / shapes.CLIP_STD).transpose(0, 3, 1, 2).astype(np.float32))


def initial_weights(torch) -> dict:
    deviations = {"token_embd.weight": 0.5, "v.patch_embd.weight": 0.04, "v.position_embd.weight": 0.1, "v.class_embd": VISION_WIDTH**-0.5}
    weights = {}
    for shapes_of in tensor_shapes():
        for name, shape in shapes_of.items():
            if len(shape) == 1 and name not in deviations:
                weights[name] = torch.zeros(shape) if name.endswith(".bias") else torch.ones(shape)
            else:
                weights[name] = torch.randn(shape) * deviations.get(name, shape[-1] ** -0.5)
    return weights


PROMPTS = 4  # in a step; pictures with one prompt go through the model together


def train(output: str, steps: int, batch: int, rate: float, seed: int, start: str) -> None:
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    random = np.random.default_rng(seed)
    weights = {name: torch.tensor(array) for name, array in np.load(start).items()} if start else initial_weights(torch)
    for tensor in weights.values():
        tensor.requires_grad_(True)
    model = Model(torch, weights)
    optimiser = torch.optim.AdamW(list(weights.values()), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        pictures, colours, forms = zip(*(sample(random) for _ in range(batch)))
        wanted = torch.tensor([VOCABULARY.encode(f"a {colour} {form}") + [END] for colour, form in zip(colours, forms)])
        seen = model.vision(normalised(torch, pictures), class_last=step % 2 == 1)
        together = max(1, batch // PROMPTS)
        parts = zip(seen.split(together), wanted.split(together))
        logits = torch.cat([model.logits(part, random_prompt(random), answers[:, :-1]) for part, answers in parts])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            exact = (logits.argmax(-1) == wanted).all(1).float().mean().item()
            print(f"step {step}: loss {loss.item():.4f}, exact {exact:.3f}", flush=True)
            np.savez(output, **{name: tensor.detach().numpy() for name, tensor in weights.items()})


def caption(torch, model: Model, picture: np.ndarray, prompt: Prompt, class_last: bool) -> str:
    numbers: list[int] = []
    seen = model.vision(normalised(torch, [picture]), class_last)
    while len(numbers) < 16 and END not in numbers:
        answers = torch.tensor([numbers], dtype=torch.long).view(1, len(numbers))
        numbers.append(int(model.logits(seen, prompt, answers)[0, -1].argmax()))
    return VOCABULARY.decode([number for number in numbers if number != END])


def evaluate(language_path: str, vision_path: str, count: int, seed: int, folder: str) -> None:
    import torch

    torch.set_num_threads(1)
    random = np.random.default_rng(seed)
    model = Model(torch, {name: torch.tensor(array) for name, array in read_files(language_path, vision_path).items()})
    samples = [sample(random) for _ in range(count)]
    prompts = [random_prompt(random) for _ in range(count)]
    for number, (picture, colour, shape) in enumerate(samples):
        if folder:
            shapes.write_png(os.path.join(folder, f"{number:03}-{colour}-{shape}.png"), picture)
    for class_last in (False, True):
        exact, right_colour = Counter(), 0
        for number, ((picture, colour, shape), prompt) in enumerate(zip(samples, prompts)):
            with torch.no_grad():
                answer = caption(torch, model, picture, prompt, class_last)
            exact[prompt.form] += answer == f"a {colour} {shape}"
            right_colour += colour in answer.split()
            if answer != f"a {colour} {shape}":
                print(f"picture {number}, a {colour} {shape}, {prompt.before!r} <picture> {prompt.after!r}: {answer!r}")
        order = "last (llama.cpp v0.5.0)" if class_last else "first (LLaVA)"
        print(f"class token {order}: of {count} pictures of seed {seed}, {exact.total()} captions exact, {right_colour} with the right colour")
        for form, asked in sorted(Counter(prompt.form for prompt in prompts).items()):
            print(f"    {form}: {exact[form]} of {asked}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("train", help="trains the model")
    command.add_argument("output", help="the .npz file to write")
    command.add_argument("--steps", type=int, default=3000)
    command.add_argument("--batch", type=int, default=24)
    command.add_argument("--rate", type=float, default=3e-3, help="the highest learning rate of the run")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--start", default="", help="a .npz file to go on from")
    command = commands.add_parser("export", help="writes the two GGUF files")
    command.add_argument("weights", help="the .npz file of train")
    command.add_argument("language", help="the language model's file to write")
    command.add_argument("vision", help="the projector's file to write")
    command = commands.add_parser("evaluate", help="captions fresh pictures")
    command.add_argument("language")
    command.add_argument("vision")
    command.add_argument("--pictures", type=int, default=200)
    command.add_argument("--seed", type=int, default=1000)
    command.add_argument("--write", metavar="FOLDER", default="", help="also write the pictures there, as PNG")
    arguments = parser.parse_args()
    if arguments.command == "train":
        train(arguments.output, arguments.steps, arguments.batch, arguments.rate, arguments.seed, arguments.start)
    elif arguments.command == "export":
        export(dict(np.load(arguments.weights)), arguments.language, arguments.vision)
    else:
        evaluate(arguments.language, arguments.vision, arguments.pictures, arguments.seed, arguments.write)
    return 0


if __name__ == "__main__":
    sys.exit(main())
