#!/usr/bin/env python3
"""Writes cache.txt: a cache as the hub's own Python package (huggingface_hub; which version, its first line says) makes it from ../hub.py. For test_fetch_cache.c.

  usage: python3 make.py > cache.txt

A line each: "folder PATH", "file PATH CONTENT" (hexadecimal), "link PATH TARGET", below the cache's folder."""
import os
import subprocess
import sys
import tempfile

here = os.path.dirname(os.path.abspath(__file__))
hub = subprocess.Popen([sys.executable, os.path.join(here, "..", "hub.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
port = hub.stdout.readline().split()[0]


def command(*words):
    hub.stdin.write("\t".join(words) + "\n")
    hub.stdin.flush()
    return hub.stdout.readline()


cache = tempfile.mkdtemp()
os.environ.update(HF_ENDPOINT=f"http://127.0.0.1:{port}", HF_HUB_CACHE=cache, HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HUB_DISABLE_TELEMETRY="1")
for path, seed, kind in (("config.json", "1", "git"), ("onnx/model.onnx", "2", "lfs"), ("q-00001-of-00002.gguf", "3", "lfs"), ("q-00002-of-00002.gguf", "4", "lfs")):
    command("file", "o/n", "main", "1" * 40, path, "24", seed, kind)
command("file", "o/n", "refs/pr/1", "2" * 40, "config.json", "20", "5", "git")
command("file", "o/n", "refs/pr/1", "2" * 40, "onnx/model.onnx", "24", "2", "lfs")

import huggingface_hub  # noqa: E402: it reads the environment when it is imported

for path in ("config.json", "onnx/model.onnx", "q-00001-of-00002.gguf", "q-00002-of-00002.gguf"):
    huggingface_hub.hf_hub_download("o/n", path)
for path in ("config.json", "onnx/model.onnx"):
    huggingface_hub.hf_hub_download("o/n", path, revision="refs/pr/1")
hub.stdin.close()

print(f"# huggingface_hub {huggingface_hub.__version__}")
for folder, folders, files in os.walk(cache):
    folders.sort()
    for name in sorted(folders):
        print("folder", os.path.relpath(os.path.join(folder, name), cache))
    for name in sorted(files):
        path = os.path.join(folder, name)
        relative = os.path.relpath(path, cache)
        if os.path.islink(path):
            print("link", relative, os.readlink(path))
        else:
            with open(path, "rb") as file:
                print("file", relative, file.read().hex())
