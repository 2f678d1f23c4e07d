#!/usr/bin/env python3
"""libcadre-fetch and the hub's own Python package in one cache, both ways; exits with 77 where the package is not installed.

  usage: with_package.py FETCH_CHILD"""
import hashlib
import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import threading

here = os.path.dirname(os.path.abspath(__file__))
hub = subprocess.Popen([sys.executable, os.path.join(here, "hub.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
port = hub.stdout.readline().split()[0]
cache = tempfile.mkdtemp()
atexit.register(shutil.rmtree, cache, ignore_errors=True)
os.environ.update(HF_ENDPOINT=f"http://127.0.0.1:{port}", HF_HUB_CACHE=cache, HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HUB_DISABLE_TELEMETRY="1", HF_TOKEN="")
try:
    import huggingface_hub
except ImportError:
    print("skipped: no huggingface_hub")
    sys.exit(77)


def command(*words):
    hub.stdin.write("\t".join(words) + "\n")
    hub.stdin.flush()
    return hub.stdout.readline().strip()


def log():
    lines = []
    line = command("log")
    while line != ".":
        lines.append(line.split("\t"))
        line = hub.stdout.readline().strip()
    return lines


def check(condition, what):
    if not condition:
        sys.exit("failed: " + what)


def child(*references, offline=False):
    return subprocess.Popen([sys.argv[1], "-", "-", *references], env=dict(os.environ, HF_HUB_OFFLINE="1" if offline else "0"), stdout=subprocess.PIPE, text=True)


def fetch(*references, offline=False):
    process = child(*references, offline=offline)
    text = process.communicate()[0]
    check(process.returncode == 0, f"fetch of {references}: {text}")


def content(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def make(path, size, seed, kind="lfs"):
    return command("file", "o/n", "main", "1" * 40, path, str(size), str(seed), kind).split()


# What the package has brought is there for us, without a question.
make("a/theirs.bin", 1000000, 1)
make("config.json", 500, 2, "git")
huggingface_hub.hf_hub_download("o/n", "a/theirs.bin")
huggingface_hub.hf_hub_download("o/n", "config.json")
before = len(log())
fetch("hf:o/n/a/theirs.bin", "hf:o/n/config.json", offline=True)
fetch("hf:o/n/a/theirs.bin", "hf:o/n/config.json")
check(len(log()) == before, "a question for what was there")

# What we have brought is there for the package.
sha, _ = make("b/ours.bin", 1000000, 3)
fetch("hf:o/n/b/ours.bin")
path = huggingface_hub.hf_hub_download("o/n", "b/ours.bin", local_files_only=True)
check(content(path) == sha, "our file, found by the package")
found = huggingface_hub.scan_cache_dir(cache)
check([r.repo_id for r in found.repos] == ["o/n"], "the package's scan of the cache")

# We go on where the package was cut, and the package where we were.
sha, etag = make("cut.bin", 3000000, 4)
blob = os.path.join(cache, "models--o--n", "blobs", etag)
command("fault", "hub", "GET", "cut.bin", "1", "hold", "1500000")
theirs = subprocess.Popen([sys.executable, "-c", "import huggingface_hub; huggingface_hub.hf_hub_download('o/n', 'cut.bin')"])
command("held", "1")
ours = child("hf:o/n/cut.bin")
line = ours.stdout.readline()
check(line.startswith("progress"), "the second one's first line: " + line)
theirs.kill()
theirs.wait()
text = ours.communicate()[0]
check(ours.returncode == 0, text)
check(content(blob) == sha, "a file that the package began")
command("release")

sha, etag = make("cut2.bin", 3000000, 5)
blob = os.path.join(cache, "models--o--n", "blobs", etag)
command("fault", "hub", "GET", "cut2.bin", "1", "hold", "1500000")
ours = child("hf:o/n/cut2.bin")
while True:
    line = ours.stdout.readline().split()
    check(line[0] == "progress", str(line))
    if int(line[1]) >= 1000000:
        break
result = []
thread = threading.Thread(target=lambda: result.append(huggingface_hub.hf_hub_download("o/n", "cut2.bin")))
thread.start()
ours.kill()
ours.wait()
have = os.path.getsize(blob + ".incomplete") if os.path.exists(blob + ".incomplete") else -1
thread.join()
check(result and content(result[0]) == sha, "a file that we began")
check(any(line[0] == "GET" and line[3].startswith("bytes=1") for line in log()), "the package did not go on where we were")
command("release")

# Both at once: one transfer.
sha, etag = make("both.bin", 3000000, 6)
command("fault", "hub", "GET", "both.bin", "1", "hold", "1500000")
ours = child("hf:o/n/both.bin")
command("held", "1")
thread = threading.Thread(target=lambda: result.append(huggingface_hub.hf_hub_download("o/n", "both.bin")))
thread.start()
while sum(line[0] == "HEAD" and "both.bin" in line[2] for line in log()) < 2:
    pass
command("release")
thread.join()
text = ours.communicate()[0]
check(ours.returncode == 0, text)
check(content(result[-1]) == sha, "a file that both wanted")
check(sum(line[0] == "GET" and "both.bin" in line[2] for line in log()) == 1, "it was brought twice")
print("ok")
