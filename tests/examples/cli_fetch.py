"""cli_fetch.py plain|terminal SOURCE BUILD: cadre-cli with models that come over the network, from a small hub in this process (see tests/run.sh for the
variables). The hub sends a file up to a gate and waits there for the test: nothing depends on how fast anything is."""
import hashlib
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.parse

sys.dont_write_bytecode = True  # the source tree stays as it is
import cli
from cli import BUILD, HOME, PATIENCE, PROGRAM, SOURCE, Terminal, entry, expect, has_images, has_module, manifest, model, write

TOKEN = "hf_ThisMustNeverBeShown"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
OPEN = 1 << 60
SHOWN = []  # all that the program has ever said


class Hub:
    """What lies at OWNER/NAME/FILE, how far it is sent, and what was asked."""

    def __init__(self):
        self.files, self.refused, self.asked, self.gate, self.moved = {}, {}, [], OPEN, threading.Condition()
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_HEAD(self):
                self.answer(False)

            def do_GET(self):
                self.answer(True)

            def answer(self, with_body):
                hub.answer(self, with_body)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def add(self, name, path):
        with open(path, "rb") as file:
            data = file.read()
        self.files[name] = (data, hashlib.sha256(data).hexdigest())
        return f"hf:{name}"

    def hold(self, at):
        """Files are sent up to this byte, and no further before the next call."""
        with self.moved:
            self.gate = at
            self.moved.notify_all()

    def release(self):
        self.hold(OPEN)

    def answer(self, request, with_body):
        self.asked.append((request.command, request.path, request.headers.get("Range"), request.headers.get("Authorization")))
        path = urllib.parse.unquote(request.path)
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        name = f"{found[1]}/{found[3]}" if found else path
        status = self.refused.get(name, 200 if name in self.files else 404)
        if status != 200:
            request.send_response(status)
            request.send_header("X-Error-Code", {403: "GatedRepo", 404: "EntryNotFound"}.get(status, ""))
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        data, etag = self.files[name]
        begin = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range") or "")
        start = int(begin[1]) if begin else 0
        end = int(begin[2]) + 1 if begin and begin[2] else len(data)
        request.send_response(206 if begin else 200)
        request.send_header("ETag", f'"{etag}"')
        request.send_header("X-Repo-Commit", COMMIT)
        request.send_header("Accept-Ranges", "bytes")
        request.send_header("Content-Type", "application/octet-stream")
        if begin:
            request.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        request.send_header("Content-Length", str(end - start))
        request.end_headers()
        if with_body:
            self.send(request, data, start, end)

    def send(self, request, data, at, end):
        try:
            while at < end:
                with self.moved:
                    self.moved.wait_for(lambda: self.gate > at)
                    stop = min(end, self.gate, at + (1 << 18))
                request.wfile.write(data[at:stop])
                at = stop
        except OSError:
            request.close_connection = True  # the client has gone


HUB = Hub()
cli.ENVIRONMENT.update({"HF_ENDPOINT": HUB.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_TELEMETRY": "1"})
for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN_PATH", "XDG_CACHE_HOME", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
    cli.ENVIRONMENT.pop(name, None)
cli.ENVIRONMENT["no_proxy"] = "127.0.0.1"
CACHE = os.path.join(HOME, ".cache", "huggingface", "hub")
NOWHERE = os.path.join(HOME, "empty")
os.makedirs(NOWHERE)


def run(*arguments, **more):
    more.setdefault("cwd", NOWHERE)
    code, out, err = cli.run(*arguments, **more)
    SHOWN.append(out + err)
    return code, out, err


def start(*arguments):
    return subprocess.Popen([PROGRAM, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=cli.ENVIRONMENT, cwd=NOWHERE)


def empty_cache():
    shutil.rmtree(CACHE, ignore_errors=True)
    HUB.asked.clear()


def line_with(process, word):
    """The next line on standard error that has it."""
    while word not in (line := process.stderr.readline().decode()):
        expect(f"a line with {word!r} comes", line) if not line else None
        SHOWN.append(line)
    SHOWN.append(line)
    return line


def finish(process):
    out, err = (text.decode() for text in process.communicate(timeout=PATIENCE))
    SHOWN.append(out + err)
    print(f"{out}{err}exit code {process.returncode}\n", flush=True)
    return process.returncode, out, err


def check_reference(smollm2):
    size = os.path.getsize(model("CADRE_TEST_SMOLLM2"))
    code, out, err = run("fetch", smollm2)
    path = out.rstrip("\n")
    expect("fetch REFERENCE: its path on standard output, in the hub's layout", code == 0 and path == f"{CACHE}/models--unsloth--smol/snapshots/{COMMIT}/smol.gguf")
    expect("the file is the one", open(path, "rb").read() == HUB.files["unsloth/smol/smol.gguf"][0])
    expect("a message says how much and how long", re.search(r"^cadre-cli: hf:unsloth/smol/smol.gguf: \d+\.\d MB in \d+\.\d s$", err, re.M))
    expect("the token was sent to the hub", all(asked[3] == f"Bearer {TOKEN}" for asked in HUB.asked) and HUB.asked)
    HUB.asked.clear()
    code, again, err = run("fetch", smollm2)
    expect("once more: it is here already, and nothing is asked", code == 0 and again == out and err == f"cadre-cli: {smollm2}: is here already\n" and HUB.asked == [])
    code, text, err = run("fetch", smollm2, "--json")
    told = json.loads(text)
    expect("--json", code == 0 and told.pop("seconds") >= 0 and told == {"type": "done", "key": smollm2, "fetched": False, "bytes": 0, "path": path})
    empty_cache()
    code, text, err = run("fetch", smollm2, "--json", "--quiet")
    told = json.loads(text)
    expect(f"--json of what was fetched {told}", code == 0 and err == "" and told.pop("seconds") > 0 and told == {"type": "done", "key": smollm2, "fetched": True, "bytes": size, "path": path})
    empty_cache()
    expect("--quiet: the path alone", run("fetch", smollm2, "--quiet") == (0, out, ""))
    other = os.path.join(HOME, "other")
    expect("--cache", run("fetch", smollm2, "--quiet", "--cache", other) == (0, out.replace(CACHE, other), ""))
    expect("a revision", run("fetch", "hf:unsloth/smol@v1.0/smol.gguf", "--quiet")[0] == 0 and any("/resolve/v1.0/" in asked[1] for asked in HUB.asked))
    text = HUB.add("unsloth/smol/notes/read me.txt", write("notes.txt", "a small file\n"))
    code, out, err = run("fetch", text, smollm2)
    expect("any file; several at once", code == 0 and len(out.splitlines()) == 2 and open(out.splitlines()[0]).read() == "a small file\n")


def check_chat(smollm2):
    question = "What is the capital of France?"
    empty_cache()
    code, answer, err = run("chat", smollm2, "-t0", question)
    expect("chat REFERENCE: fetched, then answered", code == 0 and "Paris" in answer and HUB.asked)
    HUB.asked.clear()
    code, again, err = run("chat", "-m", smollm2, "-t0", question)
    expect("again: the same, without a question to the hub, and without a message", (code, again, err) == (0, answer, "") and HUB.asked == [])
    local = manifest(cli.chat_entry(), name="local.json")
    expect("as from a local file", run("chat", "--models", local, "-t0", question)[1] == answer)
    expect("--offline, with the file here", run("chat", "--offline", smollm2, "-t0", question)[:2] == (0, answer))
    code, out, err = run("chat", "hf:unsloth/smol/notes/read me.txt", question)
    expect("the file's name says the backend", code == 2 and "ends in .gguf\n" in err)
    code, out, err = run("chat", "hf:nobody/", question)
    expect("what is no reference: why", code in (2, 3) and out == "" and "hf:nobody/" in err)
    program = os.path.join(BUILD, "examples", "fetch")
    empty_cache()
    done = subprocess.run([program, smollm2], capture_output=True, text=True, timeout=PATIENCE, env=cli.ENVIRONMENT, cwd=HOME)
    SHOWN.append(done.stdout + done.stderr)
    expect(f"the example fetch answers: {done.stdout!r} {done.stderr!r}", done.returncode == 0 and len(done.stdout.strip()) >= 3 and HUB.asked)
    done = subprocess.run([program, "hf:unsloth/smol/gone.gguf"], capture_output=True, text=True, timeout=PATIENCE, env=cli.ENVIRONMENT, cwd=HOME)
    SHOWN.append(done.stdout + done.stderr)
    expect(f"and says what is not there: {done.stderr!r}", done.returncode == 1 and "gone.gguf" in done.stderr)


def check_embed():
    if not has_module("onnx"):
        return cli.skipped("embed REFERENCE of an ONNX file", "the module cadre-onnx is not in the build")
    path, vocabulary = HUB.add("sentence/minilm/onnx/model.onnx", model("CADRE_TEST_MINILM_ONNX")), HUB.add("sentence/minilm/vocab.txt", model("CADRE_TEST_MINILM_VOCAB"))
    code, out, err = run("embed", path, "--vocabulary", vocabulary, "a dog")
    expect("embed REFERENCE --vocabulary REFERENCE: 384 numbers", code == 0 and len(out.split()) == 384)
    local = manifest(cli.embed_entry(), name="local.json")
    code, out, err = run("embed", "--models", local, "minilm", "--vocabulary", vocabulary, "a dog")
    expect("--vocabulary is for references", code == 2 and "--vocabulary" in err)


def check_manifest(smollm2):
    empty_cache()
    entries = [{**entry(f"smol-{kind}", "text-to-text", "llama", kind, path=smollm2, context_length=1024, slots=1), "license": "Apache-2.0"} for kind in ("async", "sync", "preloaded")]
    at = ["--models", manifest(*entries, name="hub.json")]
    code, out, err = run("models", *at)
    rows = [line.split() for line in out.splitlines()]
    expect("models: what is missing", code == 0 and err == "" and [row[rows[0].index("FILES")] for row in rows[1:]] == ["missing"] * 3 and "LICENSE" not in rows[0])
    expect("models --verbose: the license", "Apache-2.0" in run("models", "--verbose", *at)[1])
    told = json.loads(run("models", "--json", *at)[1])["models"]
    expect("models --json", [(m["files"], m["license"], m["error"]) for m in told] == [("missing", "Apache-2.0", "")] * 3)
    expect("nothing was asked", HUB.asked == [])
    for kind in ("sync", "preloaded"):
        code, out, err = run("chat", *at, f"smol-{kind}", "Hello.")
        expect(f"chat with a {kind} model: exit code 3, and what to do", code == 3 and f'run "cadre-cli fetch smol-{kind}" first' in err and out == "" and HUB.asked == [])
    code, out, err = run("health", *at, "--load", "smol-sync")
    expect("health --load likewise", code == 3 and 'cadre-cli fetch smol-sync' in err and HUB.asked == [])
    code, out, err = run("fetch", *at, "smol-synk")
    expect("fetch of no model: exit code 2, and the nearest", code == 2 and 'did you mean "smol-sync"?' in err)
    code, out, err = run("fetch", *at, "smol-sync")
    expect("fetch KEY: a message, nothing on standard output", code == 0 and out == "" and "MB in" in err)
    HUB.add("small/model/x.gguf", write("small.gguf", b"GGUF" + b"\xff" * 996))
    small = manifest(entry("small", "text-to-text", "llama", "async", path="hf:small/model/x.gguf"), name="small.json")
    told = json.loads(run("fetch", "--models", small, "small", "--json")[1])
    expect(f"how much a small file is {told}", told["fetched"] and told["bytes"] == 1000)
    HUB.asked.clear()
    code, out, err = run("fetch", *at, "smol-sync", "smol-async", "--json")
    told = [json.loads(line) for line in out.splitlines()]
    expect("then it is here, for all who use the file", code == 0 and HUB.asked == [] and [(t["key"], t["fetched"], t["bytes"]) for t in told] == [("smol-sync", False, 0), ("smol-async", False, 0)])
    expect("models: it is here", [m["files"] for m in json.loads(run("models", "--json", *at)[1])["models"]] == ["here"] * 3)
    answers = {run("chat", *at, f"smol-{kind}", "-t0", "-n4", "Name a colour.")[:2] for kind in ("async", "sync", "preloaded")}
    expect(f"each kind answers, and the same {answers}", len(answers) == 1 and next(iter(answers))[0] == 0)
    empty_cache()
    code, out, err = run("chat", *at, "smol-async", "-t0", "-n4", "Name a colour.")
    expect("an async one brings its file with the first use", (code, out) in answers and HUB.asked)
    empty_cache()
    code, out, err = run("health", *at, "--load", "smol-async")
    expect("health --load too", code == 0 and [m["state"] for m in json.loads(out)["models"]].count("ready") == 1)


def check_interrupt(smollm2, size):
    """Ctrl-C in the midst, then again: what has come is kept."""
    at = ["--models", manifest(entry("smol", "text-to-text", "llama", "async", path=smollm2, context_length=1024, slots=1), name="one.json")]
    for what, number, code, words in (("fetch", signal.SIGINT, 130, ["fetch", smollm2]), ("fetch", signal.SIGTERM, 143, ["fetch", *at, "smol"]), ("chat", signal.SIGINT, 130, ["chat", *at, "smol", "-t0", "-n4", "Hi."])):
        empty_cache()
        HUB.hold(size // 2)
        process = start(*words)
        line = line_with(process, "%, ")
        expect(f"{what} without a terminal: a line now and then: {line!r}", re.fullmatch(r"cadre-cli: (smol|hf:\S+): ([1-4]\d|50) %, \d+\.\d MB of \d+\.\d MB(, \d+\.\d [kMG]B/s, \d+ (s|min) left)?\n", line))
        process.send_signal(number)
        got, out, err = finish(process)
        expect(f"{what}, {number.name}: exit code {code}, and that it is kept", got == code and out == "" and "the next run goes on from there" in err)
        HUB.release()
        HUB.asked.clear()
        got, out, err = run(*words)
        ranges = [int(re.match(r"bytes=(\d+)-", asked[2])[1]) for asked in HUB.asked if asked[0] == "GET" and asked[2]]
        expect(f"the next run goes on {ranges}", got == 0 and any(0 < begin <= size // 2 for begin in ranges) and not [a for a in HUB.asked if a[0] == "GET" and not a[2]])
    for words in (["fetch", smollm2], ["fetch", *at, "smol"], ["chat", *at, "smol", "Hi."]):
        empty_cache()
        HUB.hold(size // 2)
        code, out, err = run(*words, "--timeout", "2")
        expect(f"{words[0]} --timeout: exit code 4", code == 4 and "CADRE_ETIMEDOUT" in err and out == "")
        HUB.release()


def check_refused(smollm2):
    empty_cache()
    for name, status in (("gated/model/x.gguf", 403), ("closed/model/x.gguf", 401)):
        HUB.refused[name] = status
    HUB.add("bad/model/x.gguf", write("x.gguf", b"GGUF" + b"\xff" * 200))
    entries = [entry(key, "text-to-text", "llama", "async", path=f"hf:{key}/x.gguf") for key in ("gone/model", "gated/model", "closed/model", "bad/model")]
    at = ["--models", manifest(*entries, name="refused.json")]
    for words in (["fetch", "hf:gone/model/x.gguf"], ["fetch", *at, "gone/model"], ["chat", *at, "gone/model", "Hi."]):
        code, out, err = run(*words)
        expect("404: exit code 3, UV_ENOENT, the repository's name", code == 3 and out == "" and "gone/model" in err and "UV_ENOENT" in err)
    for key in ("gated/model", "closed/model"):
        for words in (["fetch", f"hf:{key}/x.gguf"], ["fetch", *at, key], ["chat", *at, key, "Hi."]):
            code, out, err = run(*words, env={k: v for k, v in cli.ENVIRONMENT.items() if k != "HF_TOKEN"})
            expect("401, 403: exit code 3, UV_EACCES, and a hint", code == 3 and out == "" and "UV_EACCES" in err and "HF_TOKEN" in err)
            expect("with a token too", run(*words)[0] == 3)
    HUB.asked.clear()
    for words, more in ((["--offline"], {}), ([], {"env": {**cli.ENVIRONMENT, "HF_HUB_OFFLINE": "1"}})):
        for command in (["fetch", smollm2], ["chat", smollm2, "Hi."]):
            code, out, err = run(*command, *words, **more)
            expect("offline, and not here: exit code 3, nothing asked", code == 3 and out == "" and "UV_ENETUNREACH" in err and HUB.asked == [])
    code, out, err = run("fetch", *at, "gone/model", smollm2, "gated/model", "--json")
    told = [json.loads(line) for line in out.splitlines()]
    expect("one that fails leaves the others their turn", code == 3 and [(t["type"], t["key"]) for t in told] == [("error", "gone/model"), ("done", smollm2), ("error", "gated/model")])
    expect("the fields of an error", set(told[0]) == {"type", "key", "error", "message"} and told[0]["error"] == "UV_ENOENT" and "gone/model" in told[0]["message"])
    code, out, err = run("chat", *at, "bad/model", "Hi.")
    expect("a file that is no model: exit code 3", code == 3 and "x.gguf" in err and out == "")
    code, out, err = run("fetch", smollm2, env={**cli.ENVIRONMENT, "HF_ENDPOINT": "nonsense"})
    expect("a wrong $HF_ENDPOINT: exit code 3 and its name", code == 3 and "$HF_ENDPOINT" in err)
    local = manifest(cli.chat_entry(), name="local.json")
    expect("which is of no concern without a fetch", run("chat", "--models", local, "-t0", "-n2", "Hi.", env={**cli.ENVIRONMENT, "HF_ENDPOINT": "nonsense"})[0] == 0)
    expect("fetch without a model: exit code 2", run("fetch")[0] == 2)


def check_catalogue():
    with open(os.path.join(SOURCE, "src", "registry", "catalogue.json"), encoding="utf-8") as file:
        keys = [e["key"] for e in json.load(file)["models"]]
    HUB.asked.clear()
    code, out, err = run("models", "--keys")
    expect("without a manifest: the catalogue", code == 0 and out.splitlines() == keys and len(keys) == 14)
    code, out, err = run("models", "--json")
    told = {m["key"]: m for m in json.loads(out)["models"]}
    absent = {name for name in ("llama", "onnx", "diffusion") if not has_module(name)}
    wrong = [k for k, m in told.items() if (m["error"], m["files"]) != ("", "missing") and not (m["backend"] in absent and m["error"] == "CADRE_EBACKEND")]
    expect(f"each entry is missing its files, and well {wrong}", code == 0 and list(told) == keys and not wrong and all(m["license"] for m in told.values()) and HUB.asked == [])
    code, out, err = run("chat", "Hello.")
    expect("chat: which one?", code == 2 and "which model?" in err and "unsloth/Phi-4-reasoning-GGUF" in err)


def check_pictures():
    if not has_images() or not has_module("llama"):
        return cli.skipped("pictures by address", "libcadre-images or the module cadre-llama is not in the build")
    picture = cli.png("red.png", (220, 30, 30), "circle")
    HUB.files["/red.png"] = (open(picture, "rb").read(), "0" * 64)
    at = ["--models", manifest(entry("shapes", "vision", "llama", path=model("CADRE_TEST_LLAVA"), mmproj=model("CADRE_TEST_LLAVA_MMPROJ")), name="vision.json")]
    HUB.asked.clear()
    code, out, err = run("describe", *at, "-t0", "-n16", f"{HUB.url}/red.png")
    expect("a private address: exit code 1, nothing asked", code == 1 and "CADRE_EINPUT" in err and HUB.asked == [])
    code, out, err = run("describe", *at, "-t0", "-n16", "--allow-private", f"{HUB.url}/red.png")
    expect("--allow-private", code == 0 and "red" in out and HUB.asked)
    expect("the token is not sent with a picture", all(asked[3] is None for asked in HUB.asked))
    code, out, err = run("describe", *at, "--allow-private", f"{HUB.url}/gone.png")
    expect("404: exit code 1", code == 1 and "CADRE_EINPUT" in err and out == "")
    code, out, err = run("describe", *at, "--allow-private", "http://127.0.0.1:1/red.png")
    expect("nobody at the picture's port: exit code 1", code == 1 and "UV_ECONNREFUSED" in err and out == "")
    code, out, err = run("describe", *at, "ftp://127.0.0.1/red.png")
    expect("no http: exit code 2", code == 2 and "only http and https" in err)
    references = [HUB.add("shapes/llava/model.gguf", model("CADRE_TEST_LLAVA")), HUB.add("shapes/llava/mmproj.gguf", model("CADRE_TEST_LLAVA_MMPROJ"))]
    code, out, err = run("describe", references[0], "--mmproj", references[1], "-t0", "-n16", picture)
    expect("describe REFERENCE --mmproj REFERENCE", code == 0 and "red" in out)
    code, out, err = run("describe", *at, "--mmproj", references[1], picture)
    expect("--mmproj is for references", code == 2 and "--mmproj" in err)
    code, out, err = run("describe", references[0], picture)
    expect("and is required with one", code == 2 and "--mmproj" in err)


def check_nothing_shown():
    text = "".join(SHOWN)
    expect(f"the token is in none of {len(text)} characters that were printed", len(text) > 5000 and TOKEN not in text)


def plain():
    path = model("CADRE_TEST_SMOLLM2")
    smollm2 = HUB.add("unsloth/smol/smol.gguf", path)
    check_reference(smollm2)
    check_chat(smollm2)
    check_embed()
    check_manifest(smollm2)
    check_interrupt(smollm2, os.path.getsize(path))
    check_refused(smollm2)
    check_catalogue()
    check_pictures()
    check_nothing_shown()


BAR = r"\rfetching \S+ \[[ =]+\]  ?\d+ %  \d+\.\d MB of \d+\.\d MB"


def terminal():
    cli.ensure_terminals()
    path = model("CADRE_TEST_SMOLLM2")
    smollm2, size = HUB.add("unsloth/smol/smol.gguf", path), os.path.getsize(path)
    for words in (["fetch", smollm2], ["chat", smollm2, "-t0", "What is the capital of France?"]):
        empty_cache()
        HUB.hold(size // 4)
        shown = Terminal(*words, columns=100)
        shown.until(BAR)
        shown.until(r"\rfetching [^\r]* 25 %  \d+\.\d MB of \d+\.\d MB")
        HUB.hold(size // 2)
        shown.until(r"\rfetching [^\r]* 50 %  \d+\.\d MB of \d+\.\d MB, \d+\.\d [kM]B/s, \d+ s left")
        expect(f"{words[0]}: a bar with bytes, rate and the time that is left", True)
        HUB.release()
        code = shown.end()
        SHOWN.append(shown.raw)
        expect("exit code 0, and the bar is gone", code == 0 and "fetching" not in shown.screen() and "[" not in shown.screen())
        expect("what was wanted is there", ("Paris" if words[0] == "chat" else "/smol.gguf") in shown.screen().replace("\n", ""))
    empty_cache()
    HUB.hold(size // 2)
    shown = Terminal("fetch", smollm2, columns=60)
    shown.until(r" 50 % ")
    shown.type("\x03")
    code = shown.end()
    SHOWN.append(shown.raw)
    HUB.release()
    lines = [piece.split("\033")[0].removesuffix("^C") for piece in shown.raw.split("\r") if piece.startswith("fetching")]
    expect("a narrow terminal: the bar fits", lines and max(map(len, lines)) <= 57)
    expect("Ctrl-C: exit code 130, and what is kept", code == 130 and "fetching" not in shown.screen() and "goes on from there" in shown.screen().replace("\n", ""))
    empty_cache()
    HUB.hold(size // 4)
    shown = Terminal("chat", smollm2)
    shown.until(r"\rfetching [^\r]* 25 % ")
    HUB.release()
    shown.until(cli.PROMPT)
    shown.type("\x04")
    code = shown.end()
    SHOWN.append(shown.raw)
    expect("a chat on a terminal: a bar, then the prompt", code == 0 and "fetching" not in shown.screen())
    for flag in ("--quiet", "--verbose"):
        empty_cache()
        shown = Terminal("fetch", smollm2, flag)
        expect(f"{flag}: no bar", shown.end() == 0 and "\rfetching" not in shown.raw)
        SHOWN.append(shown.raw)
    expect("the token is not shown", TOKEN not in "".join(SHOWN))


globals()[cli.NAME]()
