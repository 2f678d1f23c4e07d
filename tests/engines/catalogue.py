#!/usr/bin/env python3
"""Lays out a small hub with the catalogue's models, for each file that the catalogue names a small file of the same architecture under that name, and serves it.

    catalogue.py CATALOGUE WEIGHTS

CATALOGUE: src/registry/catalogue.json. WEIGHTS: the folder that examples/weights.sh fills. Makes a temporary folder with hub/OWNER/NAME/FILE, links to the
weights; and models.json, the catalogue with these changes, which are all: text-to-image models are made of other parts (no small T5 or CLIP-G exists, the engine
fixes their sizes) and draw 64 × 64 pixels. Then the hub is served on a port of 127.0.0.1 until standard input ends, and the folder removed. Prints "PORT FOLDER".
Standard library alone.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.parse

# What stands in for each file of the catalogue. A number: split into so many parts.
FILES = {
    "unsloth/Kimi-K2-Instruct-GGUF": ["kimi-k2-tiny.gguf"],
    "unsloth/Qwen3-Coder-30B-A3B-Instruct-GGUF": ["qwen3-moe-tiny.gguf"],
    "unsloth/Phi-4-reasoning-GGUF": ["phi-4-tiny.gguf"],
    "Alibaba-NLP/gte-Qwen2-1.5B-instruct": ["gte-qwen2-tiny.gguf"],
    "jinaai/jina-embeddings-v2-base-en": ["jina-v2-tiny.gguf"],
    "nvidia/NV-Embed-v2": ["nv-embed-tiny.onnx", "mistral-vocabulary-tiny.gguf"],
    "dunzhang/stella_en_400M_v5": ["stella-400m-tiny.onnx", "stella-400m-vocabulary-tiny.txt"],
    "dunzhang/stella_en_1.5B_v5": ["stella-1.5b-tiny.onnx", "qwen2-vocabulary-tiny.gguf"],
    "sentence-transformers/all-MiniLM-L6-v2": ["all-MiniLM-L6-v2.onnx", "vocab.txt"],
    "openai/clip-vit-base-patch32": ["clip-shapes.onnx"],
    "openai/clip-vit-large-patch14-336": ["clip-shapes-336.onnx"],
    "llava-hf/llava-1.5-7b-hf": ["shapes-llava.gguf", "shapes-llava-mmproj.gguf"],
}
PICTURES = {
    "stabilityai/stable-diffusion-3.5-large-turbo": "sd35-colour.gguf",
    "black-forest-labs/FLUX.1-schnell": "flux-colour.gguf",
}


def put(folder: str, reference: str, source: str) -> None:
    """`reference`: hf:OWNER/NAME/FILE. The first part of a split file stands for all parts."""
    target = os.path.join(folder, "hub", reference.removeprefix("hf:"))
    os.makedirs(os.path.dirname(target), exist_ok=True)
    base, of, parts = target.removesuffix(".gguf").rpartition("-of-")
    if of and target.endswith(".gguf") and parts.isdigit():
        splitter = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "weights", "split_gguf.py")
        subprocess.run([sys.executable, "-B", splitter, source, base.removesuffix("-00001"), str(int(parts))], check=True)
    else:
        os.symlink(os.path.abspath(source), target)


def lay_out(catalogue: str, weights: str, folder: str) -> None:
    with open(catalogue, encoding="utf-8") as file:
        manifest = json.load(file)
    for entry in manifest["models"]:
        key, options = entry["key"], entry["options"]
        if key in PICTURES:
            repository = "hf:" + key
            parts = {"diffusion_model": PICTURES[key], "clip_l": "clip-l-colour.gguf", "taesd": "taesd-colour.safetensors"}
            entry["options"] = {name: f"{repository}/{source}" for name, source in parts.items()}
            entry["options"].update(width=64, height=64)
            entry["defaults"].update(width=64, height=64)
            for source in parts.values():
                put(folder, f"{repository}/{source}", os.path.join(weights, source))
            continue
        named = [value for value in options.values() if isinstance(value, str) and value.startswith("hf:")]
        for reference, source in zip(named, FILES[key], strict=True):
            put(folder, reference, os.path.join(weights, source))
    with open(os.path.join(folder, "models.json"), "w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=1)


class Hub(http.server.BaseHTTPRequestHandler):
    """/OWNER/NAME/resolve/REVISION/FILE, with the heads that tell a file's hash, size and commit."""

    protocol_version = "HTTP/1.1"
    folder = ""

    def answer(self, body: bool) -> None:
        owner, name, _, _, *rest = urllib.parse.unquote(self.path).lstrip("/").split("/")
        path = os.path.join(self.folder, owner, name, *rest)
        try:
            file = open(path, "rb")
        except OSError:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        with file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            self.send_response(200)
            self.send_header("Content-Length", str(file.tell()))
            self.send_header("ETag", f'"{digest}"')
            self.send_header("X-Repo-Commit", hashlib.sha1(f"{owner}/{name}".encode()).hexdigest())
            self.end_headers()
            file.seek(0)
            if body:
                shutil.copyfileobj(file, self.wfile)

    def do_HEAD(self) -> None:
        self.answer(False)

    def do_GET(self) -> None:
        self.answer(True)

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit((__doc__ or "").strip())
    with tempfile.TemporaryDirectory(prefix="cadre-catalogue-") as folder:
        lay_out(sys.argv[1], sys.argv[2], folder)
        Hub.folder = os.path.join(folder, "hub")
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.server_port, folder, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
