"""cli.py plain|terminal SOURCE BUILD: cadre-cli as it is used from scripts, and on a terminal, on real models (see tests/run.sh for the variables)."""
import errno
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import zlib

NAME, SOURCE, BUILD = sys.argv[1:]
PROGRAM = os.path.join(BUILD, "examples", "cadre-cli", "cadre-cli")
PATIENCE = 240  # seconds; a hang is a failure, speed is no matter here
COMMANDS = ["models", "fetch", "chat", "embed", "embed-image", "describe", "draw", "health", "completion", "help"]
STORY = "Tell me a long story about a lighthouse keeper and the sea."
FOLDER = tempfile.TemporaryDirectory(prefix="cadre-cli-")
HOME = FOLDER.name
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever starts this test may ignore it
ENVIRONMENT = {**{k: v for k, v in os.environ.items() if k not in ("CADRE_MODELS", "XDG_CONFIG_HOME", "NO_COLOR")}, "HOME": HOME, "TERM": "xterm"}


def model(variable):
    path = os.environ.get(variable)
    if not path:
        sys.exit(f"{variable} is not set: it names the model's file (see tests/run.sh)")
    return os.path.abspath(path)


def has_module(name):
    return os.path.exists(os.path.join(BUILD, "cadre", f"cadre-{name}.so"))


def has_images():
    return "with libcadre-images" in run("--version")[1]


def has_fetch():
    return "with libcadre-fetch" in run("--version")[1]


def expect(what, condition):
    if not condition:
        sys.exit(f"FAILED: {what}")
    print("ok:", what, flush=True)


def write(name, text):
    path = os.path.join(HOME, name)
    with open(path, "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode())
    return path


def manifest(*entries, name="models.json"):
    return write(name, '{"models": [\n' + ",\n".join(json.dumps(entry) for entry in entries) + "\n]}\n")


def entry(key, capability, backend, loader="sync", **options):
    return {"key": key, "capability": capability, "backend": backend, "loader": loader, "options": options}


def chat_entry(**options):
    return entry("smollm2", "text-to-text", "llama", path=model("CADRE_TEST_SMOLLM2"), context_length=2048, slots=1, **options)


def embed_entry():
    return entry("minilm", "text-embedding", "llama", path=model("CADRE_TEST_MINILM"))


def run(*arguments, stdin=b"", **more):
    done = subprocess.run([PROGRAM, *arguments], input=stdin, capture_output=True, timeout=PATIENCE, env=more.pop("env", ENVIRONMENT), cwd=more.pop("cwd", HOME), **more)
    out, err = done.stdout.decode(), done.stderr.decode()
    shown = out if len(out) < 1500 else out[:1500] + "…"
    print(f"$ cadre-cli {' '.join(repr(a) if isinstance(a, bytes) or ' ' in a else a for a in arguments)}\n{shown}{err}exit code {done.returncode}\n", flush=True)
    return done.returncode, out, err


def check_fails(code, message, *arguments, **more):
    """The exit code, the message, and nothing on stdout."""
    got, out, err = run(*arguments, **more)
    expect(f"exit code {code}, and the message has {message!r}", got == code and message in err and out == "")


# ---- plain ----


def options_of(text):
    return set(re.findall(r"--[a-z][a-z-]+", text))


def check_help():
    code, out, err = run("--help")
    expect("--help: exit code 0, every command", code == 0 and err == "" and all(re.search(rf"^  {name} ", out, re.M) for name in COMMANDS))
    with open(os.path.join(SOURCE, "examples", "cadre-cli", "cadre-cli.1"), encoding="utf-8") as file:
        page = file.read().replace("\\-", "-")
    documented = {f"-{flag}" for flag in re.findall(r"Fl (-[a-z-]+)", page)}
    known = options_of(out)
    completion = run("completion", "bash")[1]
    for name in COMMANDS:
        code, text, err = run(name, "--help")
        expect(f"{name} --help: exit code 0, usage", code == 0 and err == "" and text.startswith(f"usage: cadre-cli {name} "))
        expect(f"help {name} says the same", run("help", name)[1] == text)
        options = options_of(text) - {"--help's"}
        known |= options
        offered = re.search(rf'^    {name}\)\n.*?compgen -W "(.*?)"', completion, re.M)
        expect(f"completion of {name} offers its options", offered and set(offered[1].split()) == set(re.findall(r"^  ...\s(--[a-z-]+)", text, re.M)))
        expect(f"the man page has {name}", f".It Cm {name}" in page)
    expect(f"the man page has every option and no other {documented ^ known}", documented == known)
    for shell in ("bash", "zsh"):
        script = run("completion", shell)[1]
        expect(f"completion {shell} names all commands", all(name in script for name in COMMANDS))
    done = subprocess.run(["bash", "-n"], input=completion, text=True, capture_output=True)
    expect("bash understands its completion", done.returncode == 0 and done.stderr == "")
    code, out, err = run("--version")
    expect("--version", code == 0 and re.fullmatch(r"cadre-cli \d+\.\d+\.\d+, libcadre \d+\.\d+\.\d+, with(out)? libcadre-images, with(out)? libcadre-fetch\n", out))
    expect("--version --json", set(json.loads(run("--version", "--json")[1])) == {"version", "library", "images", "fetch"})


def check_completion(models):
    script = 'source <("$0" completion bash); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _cadre_cli; printf "%s\\n" "${COMPREPLY[@]}"'

    def complete(*words):
        done = subprocess.run(["bash", "-c", script, PROGRAM, PROGRAM, *words], capture_output=True, text=True, timeout=PATIENCE, cwd=HOME, env=ENVIRONMENT)
        expect(f"completing {words}: no message", done.stderr == "")
        return done.stdout.split("\n")[:-1]

    expect("commands", complete("ch") == ["chat"])
    expect("options", complete("chat", "--te") == ["--temperature"])
    expect("models of the manifest with the capability", complete("--models", models, "embed", "") == ["minilm"])
    expect("models after --load", complete("--models", models, "health", "--load", "s") == ["smollm2"])
    mark = os.path.join(HOME, "mark")
    hostile = manifest(entry(f"$(touch {mark})", "vision", "llama"), name="hostile.json")
    expect("a key is no command", complete("--models", hostile, "describe", "$") == [f"$(touch {mark})"] and not os.path.exists(mark))


def check_usage(models):
    at = ["--models", models]
    check_fails(2, "Try", )
    check_fails(2, 'did you mean "chat"?', "chta")
    check_fails(2, "unknown command", "paint")
    check_fails(2, "did you mean --temperature?", "chat", "--temperatur", "1")
    check_fails(2, "unknown option --what-is-this", "chat", "--what-is-this")
    check_fails(2, "--steps is no option of \"chat\"", "chat", "--steps", "3", "x")
    check_fails(2, "--temperature: T is missing", "chat", "--temperature")
    check_fails(2, "--json takes no value", "models", "--json=1")
    check_fails(2, '"chta"; did you mean "chat"?', "help", "chta")
    check_fails(2, "bash or zsh", "completion")
    check_fails(2, "fish", "completion", "fish")
    for option, values in {
        "--temperature": ("x", "nan", "-1", "1e999", "0x10", ""), "--top-p": ("1.5", "inf"), "--top-k": ("99999999999999999999", "1.5", "-1"), "--max-tokens": ("0", "3000000000"),
        "--seed": ("4294967296", "-2"), "--memory": ("x", "-1", "5X", "1e30", "0"), "--cores": ("0", "513"), "--timeout": ("0", "-1", "1e300"),
    }.items():
        for value in values:
            check_fails(2, f"{option}: ", "chat", *at, f"{option}={value}", "hello")
    check_fails(2, 'did you mean "smollm2"?', "chat", *at, "smolm2", "hello")
    check_fails(2, 'did you mean "smollm2"?', "chat", *at, "-m", "smollm", "hello")
    check_fails(2, '"minilm" is a text-embedding model', "chat", *at, "minilm", "hello")
    check_fails(2, "has no vision model", "describe", *at, "x.png") if has_images() else None
    check_fails(2, "one PROMPT is expected", "chat", *at, "two", "prompts")
    check_fails(2, "PROMPT is empty", "chat", *at, "")
    check_fails(2, "PROMPT, from standard input, is empty", "chat", *at, stdin=b"\n\n")
    check_fails(2, "PROMPT is not UTF-8: byte 0xff at offset 3", "chat", *at, b"abc\xff")
    check_fails(2, "is not UTF-8: byte 0xc0 at offset 1", "chat", *at, stdin=b"a\xc0\xaf")
    check_fails(2, "NUL byte at offset 1", "chat", *at, stdin=b"a\0b")
    check_fails(2, "TEXT 2 is not UTF-8", "embed", *at, "fine", b"\xed\xa0\x80")
    check_fails(2, "--system is not UTF-8", "chat", *at, "--system", b"\xfe", "hello")
    check_fails(2, "standard input is empty", "embed", *at)
    check_fails(2, "--stop: the text is empty", "chat", *at, "--stop=", "hello")
    check_fails(2, "--stop: more than 16", "chat", *at, *["--stop=x"] * 17, "hello")
    check_fails(2, "--grammar-file: /nowhere/g", "chat", *at, "--grammar-file", "/nowhere/g", "hello")
    check_fails(2, "--trace: /nowhere/t", "chat", *at, "--trace", "/nowhere/t", "hello")
    check_fails(2, "no argument is expected", "models", *at, "smollm2")
    check_fails(2, 'did you mean "text-to-text"?', "models", *at, "--capability", "text-to-txt")
    check_fails(2, 'did you mean "minilm"?', "health", *at, "--load", "minilmm")


def check_manifests(models):
    nowhere = os.path.join(HOME, "empty")
    os.makedirs(nowhere, exist_ok=True)
    if has_fetch():  # the catalogue stands in: cli_fetch.py
        code, out, err = run("models", "--keys", cwd=nowhere)
        expect("no manifest: the catalogue", code == 0 and err == "" and "unsloth/Phi-4-reasoning-GGUF\n" in out)
    else:
        code, out, err = run("models", cwd=nowhere)
        expect("no manifest: exit code 3, and where it looked", code == 3 and out == "" and all(w in err for w in ("$CADRE_MODELS", "./models.json", f"{HOME}/.config/cadre/models.json", "--models")))
        check_fails(3, f"{HOME}/x/cadre/models.json", "models", cwd=nowhere, env={**ENVIRONMENT, "XDG_CONFIG_HOME": f"{HOME}/x"})
        check_fails(1, "built without", "fetch", "x")
        check_fails(1, "built without", "chat", "hf:owner/name/x.gguf", "hello")
    check_fails(3, "--models: /nowhere/m.json: No such file", "models", "--models", "/nowhere/m.json")
    check_fails(3, "$CADRE_MODELS: /nowhere/m.json: No such file", "models", env={**ENVIRONMENT, "CADRE_MODELS": "/nowhere/m.json"})
    check_fails(3, "EISDIR", "models", "--models", HOME)
    code, out, _ = run("models", "--keys", cwd=nowhere, env={**ENVIRONMENT, "CADRE_MODELS": models})
    expect("$CADRE_MODELS", code == 0 and out == "smollm2\nminilm\n")
    os.makedirs(f"{HOME}/.config/cadre", exist_ok=True)
    manifest(embed_entry(), name=".config/cadre/models.json")
    code, out, _ = run("models", "--keys", cwd=nowhere)
    expect("the user's manifest", code == 0 and out == "minilm\n")
    os.remove(f"{HOME}/.config/cadre/models.json")

    broken = write("broken.json", '{"models": [\n  {"key": "a",\n   "capability" "vision"}\n]}')
    check_fails(3, f"{broken}:3:1", "models", "--models", broken)
    check_fails(3, f"{broken}:3:1", "chat", "--models", broken, "hello")
    twice = manifest(chat_entry(), chat_entry(), name="twice.json")
    check_fails(3, f"{twice}:3:", "chat", "--models", twice, "hello")
    none = write("none.json", '{"models": []}')
    check_fails(2, "has no text-to-text model", "chat", "--models", none, "hello")
    missing = {**embed_entry(), "key": "gone", "options": {"path": "nowhere/gone.gguf"}}
    absent = entry("absent", "text-to-image", "no-such-engine")
    odd = {**chat_entry(), "key": "odd", "options": {"path": "x.gguf", "slotz": 3}}
    mixed = manifest(missing, absent, chat_entry(), odd, name="mixed.json")
    code, out, err = run("models", "--models", mixed)
    expect("a wrong entry: exit code 3; the table has all entries", code == 3 and [line.split()[0] for line in out.splitlines()[1:]] == ["gone", "absent", "smollm2", "odd"])
    for place, words in (("2:", "nowhere/gone.gguf"), ("3:", "no-such-engine"), ("5:", 'did you mean "slots"')):
        expect(f"line {place} {words}", re.search(rf"{re.escape(mixed)}:{place}\d+: models\[\d\].*{re.escape(words)}", err))
    column = open(mixed).read().splitlines()[4].index('"slotz"') + 1
    expect("its column and index too", f"{mixed}:5:{column}: models[3].options.slotz" in err)
    unusable = manifest(missing, absent, chat_entry(), name="unusable.json")
    code, out, err = run("models", "--json", "--models", unusable)
    states = {entry["key"]: (entry["state"], entry["error"]) for entry in json.loads(out)["models"]}
    expect("an absent backend and absent weights leave the other model usable", code == 0 and states == {"gone": ("unusable", "CADRE_EFORMAT"), "absent": ("unusable", "CADRE_EBACKEND"), "smollm2": ("cold", "")})
    fields = {"key", "name", "capability", "provider", "backend", "loader", "license", "files", "state", "error", "detail", "workers", "workers_loading", "memory_bytes"}
    expect("the fields are those of the man page", all(set(e) == fields for e in json.loads(out)["models"]) and json.loads(out)["manifest"] == unusable)
    check_fails(3, "nowhere/gone.gguf", "embed", "--models", unusable, "gone", "hello")
    code, out, err = run("chat", "--models", unusable, "-t0", "-n2", "Hello.")
    expect("it answers", code == 0 and out.strip() != "" and err == "")
    damaged = manifest(entry("damaged", "text-to-text", "llama", path=write("damaged.gguf", b"GGUF" + b"\xff" * 200)), name="damaged.json")
    check_fails(3, "damaged.gguf", "chat", "--models", damaged, "hello")
    code, out, err = run("chat", "--models", damaged, "--json", "hello")
    expect("with --json the failure is a JSON line too", code == 3 and json.loads(out)["type"] == "error" and "damaged.gguf" in json.loads(out)["message"])
    with open(os.path.join(SOURCE, "examples", "cadre-cli", "models.json"), encoding="utf-8") as file:
        keys = [entry["key"] for entry in json.load(file)["models"]]
    expect("the manifest beside the program", {"smollm2", "minilm", "minilm-onnx", "clip-shapes", "shapes-llava", "flux-colour", "sd35-colour"} <= set(keys))
    code, out, _ = run("models", "--keys", "--models", os.path.join(SOURCE, "examples", "cadre-cli", "models.json"))
    expect("is read", code == 0 and out.split() == keys)
    marked = write("marked.json", b"\xef\xbb\xbf" + open(unusable, "rb").read())
    code, out, err = run("models", "--json", "--models", marked)
    expect("a byte order mark is no part of the text", code == 0 and {e["key"]: e["error"] for e in json.loads(out)["models"]} == {k: error for k, (_, error) in states.items()})
    slow = os.path.join(HOME, "slow.json")
    os.mkfifo(slow)  # opening it to read waits for a writer, which never comes
    late = manifest({**chat_entry(), "options": {"path": slow}}, name="late.json")
    for expected, command in ((0, ["models"]), (3, ["chat", "hello"])):
        code, out, err = run(*command, "--models", late)
        expect(f"{command[0]}: weights that are no file: exit code {expected} and why", code == expected and f"{slow}: is not a regular file" in err)


def check_chat(models):
    at = ["--models", models]
    code, out, err = run("chat", *at, "smollm2", "--temperature", "0", stdin=b"What is the capital of France?\n")
    expect("a question from a pipe: Paris, one newline at the end, no message", code == 0 and "Paris" in out and out.endswith("\n") and not out.endswith("\n\n") and err == "")
    code, again, _ = run("chat", *at, "-t", "0", "What is the capital of France?")
    expect("the model may be left out, the question be an argument", code == 0 and again == out)
    code, text, _ = run("chat", *at, "-t0", "--json", "What is the capital of France?")
    lines = [json.loads(line) for line in text.splitlines()]
    expect("--json: pieces, then done", [line["type"] for line in lines] == ["text"] * (len(lines) - 1) + ["done"] and len(lines) > 3)
    expect("the pieces are the answer", "".join(line["text"] for line in lines[:-1]) + "\n" == out)
    expect("the fields of done", set(lines[-1]) == {"type", "model", "finish", "prompt_tokens", "cached_tokens", "generated_tokens", "seconds"} and lines[-1]["finish"] == "stop")
    done = json.loads(run("chat", *at, "-t0", "--json", "-n", "3", STORY)[1].splitlines()[-1])
    expect("--max-tokens", done["finish"] == "length" and done["generated_tokens"] == 3)
    expect("--stop", "Paris" not in run("chat", *at, "-t0", "--stop", "Paris", "What is the capital of France?")[1])
    grammar = write("yes.gbnf", 'root ::= "yes" | "no"\n')
    expect("--grammar-file", run("chat", *at, "-t0", "--grammar-file", grammar, "Is water wet?")[1] in ("yes\n", "no\n"))
    first, second = (run("chat", *at, "--seed", "7", "-n", "12", "Name an animal.")[1] for _ in range(2))
    expect("--seed: the same twice", first == second)
    plain, pirate = (run("chat", *at, "-t0", "-n", "12", *more, "Who are you?")[1] for more in ([], ["--system", "You are a pirate called Jack."]))
    expect("--system is heard", plain != pirate)
    code, out, err = run("chat", *at, "-v", "-t0", "-n", "3", "Hello.")
    expect("--verbose: plain lines on stderr", code == 0 and "event: load_started smollm2" in err and "event: worker_ready smollm2" in err and "3 generated" in err and "\r" not in err and "\033" not in err)
    check_fails(4, "CADRE_ETIMEDOUT", "chat", *at, "--timeout", "0.001", "Hello.")
    code, out, err = run("chat", *at, "--timeout", "0.001", "--json", "Hello.")
    expect("the deadline with --json", code == 4 and json.loads(out)["error"] == "CADRE_ETIMEDOUT")
    check_fails(3, "needs", "chat", *at, "--memory", "10M", "Hello.")
    code, _, err = run("chat", *at, "-t0", "Hello. " * 5000)
    expect("a prompt too long: exit code 1", code == 1 and "CADRE_ETOOLONG" in err)
    trace = os.path.join(HOME, "trace.json")
    run("chat", *at, "-t0", "-n2", "--trace", trace, "Hello.")
    expect("--trace", len(json.load(open(trace))) > 3)
    code, out, err = run("chat", *at, "-t0", "-n2", "--trace", "/dev/full", "Hello.")
    expect("a trace that cannot be written: one warning, and the answer", code == 0 and out.strip() and re.fullmatch(r"cadre-cli: warning: /dev/full: the trace stops: .*\n", err))


def check_embed(models):
    at = ["--models", models]
    texts = ["A dog runs across the meadow.", "A puppy is racing over the grass.", "The bank raised its interest rates."]
    code, out, err = run("embed", *at, "--json", *texts)
    result = json.loads(out)
    expect("fields", code == 0 and err == "" and set(result) == {"model", "count", "dimension", "tokens", "embeddings"})
    vectors = result["embeddings"]
    expect("three vectors of 384", len(vectors) == 3 and all(len(v) == 384 for v in vectors) and result["dimension"] == 384 and result["tokens"] > 12)
    dot = lambda a, b: sum(x * y for x, y in zip(a, b))
    expect("the dog is nearer to the puppy than to the bank", dot(vectors[0], vectors[1]) > 0.5 > dot(vectors[0], vectors[2]) + 0.2)
    code, out, _ = run("embed", *at, "minilm", stdin="\n".join(texts).encode())
    lines = [[float(x) for x in line.split()] for line in out.splitlines()]
    expect("lines of standard input: the same vectors", code == 0 and len(lines) == 3 and all(abs(x - y) < 1e-4 for a, b in zip(lines, vectors) for x, y in zip(a, b)))
    matrix = json.loads(run("embed", *at, "--json", "--similarity", *texts)[1])["similarity"]
    expect("--similarity --json", all(abs(matrix[i][j] - dot(vectors[i], vectors[j])) < 1e-4 for i in range(3) for j in range(3)))
    rows = [[float(x) for x in line.split()] for line in run("embed", *at, "--similarity", *texts)[1].splitlines()]
    expect("--similarity", [[round(x, 3) for x in row] for row in matrix] == [[round(x, 3) for x in row] for row in rows] or all(abs(a - b) < 1e-3 for r, s in zip(rows, matrix) for a, b in zip(r, s)))
    code, _, err = run("embed", *at, "word " * 3000)
    expect("a text too long: exit code 1", code == 1 and "CADRE_ETOOLONG" in err)
    expect("--truncate", run("embed", *at, "--truncate", "word " * 3000)[0] == 0)


def check_health(models):
    at = ["--models", models]
    code, out, err = run("health", *at)
    expect("health: JSON, ok, both models cold", code == 0 and json.loads(out)["status"] == "ok" and [m["state"] for m in json.loads(out)["models"]] == ["cold", "cold"])
    code, out, err = run("health", *at, "--load", "all")
    expect("--load all: both are ready", code == 0 and [m["state"] for m in json.loads(out)["models"]] == ["ready", "ready"])
    code, out, err = run("health", *at, "--load", "minilm", "--prometheus")
    check = subprocess.run([sys.executable, os.path.join(SOURCE, "tests", "prometheus_check.py"), "--in", os.path.join(SOURCE, "docs", "timeline.md")], input=out, text=True, capture_output=True)
    expect(f"--prometheus: the format, each metric documented {check.stdout}", code == 0 and check.returncode == 0 and "cadre_" in out)
    code, out, err = run("health", *at, "--load", "smollm2", "--timeout", "0.001")
    expect("--timeout: exit code 4, health all the same", code == 4 and "models" in json.loads(out) and "--timeout" in err)


def check_ends(models):
    """Signals without a terminal, and a reader that goes."""
    at = ["--models", models]
    quiet = {"stdin": subprocess.DEVNULL, "env": ENVIRONMENT, "cwd": HOME}
    done = subprocess.run(["bash", "-c", '"$0" "$@" | head -c 1; exit ${PIPESTATUS[0]}', PROGRAM, "chat", *at, "-t0", STORY], capture_output=True, timeout=PATIENCE, **quiet)
    expect(f"| head -c 1: one byte, exit code 141, no message {done.stderr}", len(done.stdout) == 1 and done.returncode == 141 and done.stderr == b"")
    full = open("/dev/full", "wb")
    done = subprocess.run([PROGRAM, "chat", *at, "-t0", "-n2", "Hello."], stdout=full, stderr=subprocess.PIPE, timeout=PATIENCE, **quiet)
    expect("a full disk: exit code 1 and why", done.returncode == 1 and b"no space left" in done.stderr)
    for words in (["--help"], ["--version"], ["help", "chat"], ["completion", "bash"], ["completion", "zsh"], ["models", "--keys", *at]):
        done = subprocess.run([PROGRAM, *words], stdout=full, stderr=subprocess.PIPE, timeout=PATIENCE, **quiet)
        expect(f"{words[0]} into a full disk: exit code 1 and why", done.returncode == 1 and b"standard output: No space left" in done.stderr)
    check_closed(at)
    check_full_pipe(at)
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
        process = subprocess.Popen([PROGRAM, "chat", *at, "-t0", STORY], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **quiet)
        process.stdout.read(1)
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
        expect(f"{number.name} in the middle of an answer: exit code {code}, a newline at the end, no message", process.returncode == code and out.endswith(b"\n") and err == b"")
        check_nothing_left(process.pid)
        process = subprocess.Popen([PROGRAM, "chat", *at], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT, cwd=HOME)
        process.stdin.write(b"word " * 40000)  # more than a pipe holds: written when the program reads
        process.stdin.flush()
        process.send_signal(number)
        process.communicate(timeout=PATIENCE)
        expect(f"{number.name} while it reads its input: exit code {code}", process.returncode == code)

    process = subprocess.Popen([PROGRAM, "chat", *at, "-t0", STORY], stdout=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN), **quiet)
    process.stdout.read(1)
    process.send_signal(signal.SIGHUP)
    process.stdout.read(50)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    expect("an ignored SIGHUP stays ignored", process.returncode == 143)

    # A reader that reads nothing: the vectors fill the pipe. The first signal waits for what is written, the second does not.
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    process = subprocess.Popen([PROGRAM, "embed", *at, "--verbose", "a", "b", "c", "d", "e"], stdout=writer, stderr=subprocess.PIPE, **quiet)
    os.close(writer)
    while b"worker_gone" not in process.stderr.readline():
        expect("it goes on", process.poll() is None) if process.poll() is not None else None
    expect("it waits for its reader", process.poll() is None)
    signals = 0
    while process.poll() is None and signals < 20:
        process.send_signal(signal.SIGINT)
        signals += 1
        try:
            process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            pass
    expect(f"the second SIGINT ends it at once ({signals} were sent)", signals >= 2 and process.returncode == 130)
    os.close(reader)
    process.stderr.close()


def check_closed(at):
    """Standard descriptors that are closed: a plain failure where they are needed, none where not."""
    def closed(which, *words):
        command = f'"$0" "$@" {which}'
        done = subprocess.run(["bash", "-c", command, PROGRAM, *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, env=ENVIRONMENT, cwd=HOME)
        print(f"$ cadre-cli {' '.join(words)} {which}\n{done.stdout.decode()}{done.stderr.decode()}exit code {done.returncode}\n", flush=True)
        return done.returncode, done.stdout, done.stderr

    hello = ["chat", *at, "-t0", "-n2", "Hello."]
    code, answer, err = closed("<&-", *hello)
    expect("stdin is closed: the answer", code == 0 and answer.strip() and err == b"")
    code, out, err = closed("<&-", "chat", *at)
    expect("stdin is closed and the question should come from there: exit code 2", code == 2 and b"standard input: Bad file descriptor" in err)
    for words in (hello, ["models", *at], ["--help"]):
        code, out, err = closed(">&-", *words)
        expect(f"stdout is closed: exit code 1 and why ({words[0]})", code == 1 and b"standard output: " in err)
    code, out, err = closed("2>&-", *hello)
    expect("stderr is closed: the answer", code == 0 and out == answer)
    expect("all are closed: exit code 1", closed("<&- >&- 2>&-", *hello)[0] == 1)


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def check_full_pipe(at):
    """Standard output that another process has set non-blocking, and that is full: the program waits for its reader, and does nothing meanwhile."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    filled = 0
    try:
        while True:
            filled += os.write(writer, b"x" * 4096)
    except BlockingIOError:
        pass
    process = subprocess.Popen([PROGRAM, "embed", *at, "--verbose", "a", "b"], stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.PIPE, env=ENVIRONMENT, cwd=HOME)
    os.close(writer)
    while b"worker_gone" not in (line := process.stderr.readline()):
        expect("it goes on", line) if not line else None
    before = cpu_seconds(process.pid)
    try:
        process.wait(timeout=2)
    except subprocess.TimeoutExpired:
        pass
    used = cpu_seconds(process.pid) - before
    expect(f"a full non-blocking pipe: it waits, and takes {used:.2f} s of processor time in two", process.poll() is None and used < 0.6)
    out = b""
    while piece := os.read(reader, 65536):
        out += piece
    os.close(reader)
    process.stderr.close()
    expect("then everything comes", process.wait(timeout=PATIENCE) == 0 and len(out[filled:].split()) == 2 * 384)


def check_nothing_left(group):
    try:
        os.killpg(group, 0)
        left = True
    except ProcessLookupError:
        left = False
    expect("no process is left", not left)
    expect("no temporary file is left", not [name for name in os.listdir(HOME) if name.startswith(".cadre-cli")])


# ---- pictures ----


def png(name, color, shape=None):
    """A 56 × 56 picture: grey, with a coloured square or disc in it."""
    rows = b""
    for y in range(56):
        rows += b"\0"
        for x in range(56):
            inside = (shape == "square" and 16 <= x < 40 and 16 <= y < 40) or (shape == "circle" and (x - 28) ** 2 + (y - 28) ** 2 < 200) or shape is None
            rows += bytes(color if inside else (128, 128, 128))
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return write(name, b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 56, 56, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def read_png(path):
    """Width, height, and the mean colour of an 8-bit RGB PNG."""
    data = open(path, "rb").read()
    expect("it is a PNG file", data.startswith(b"\x89PNG\r\n\x1a\n") and data.endswith(b"IEND\xaeB`\x82"))
    at, idat = 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, color = struct.unpack(">IIBB", body[:10])
        idat += body if kind == b"IDAT" else b""
        at += 12 + length
    expect("8-bit RGB", (depth, color) == (8, 2))
    raw, before, sums = zlib.decompress(idat), bytes(width * 3), [0, 0, 0]
    for y in range(height):
        kind, line = raw[y * (width * 3 + 1)], bytearray(raw[y * (width * 3 + 1) + 1 : (y + 1) * (width * 3 + 1)])
        for i in range(len(line)):
            left, up, corner = line[i - 3] if i >= 3 else 0, before[i], before[i - 3] if i >= 3 else 0
            guess = left + up - corner
            paeth = min((left, up, corner), key=lambda v: abs(guess - v))
            line[i] = (line[i] + (0, left, up, (left + up) // 2, paeth)[kind]) & 255
            sums[i % 3] += line[i]
        before = line
    return width, height, [s / (width * height) for s in sums]


def skipped(what, why):
    print(f"SKIPPED: {what}: {why}", flush=True)


def check_pictures():
    if not has_images():
        for command in (["describe", "x.png"], ["embed-image", "x.png"], ["draw", "x", "-o", "x.png"]):
            check_fails(1, "needs libcadre-images", *command)
        return skipped("describe, embed-image, draw", "libcadre-images is not in the build")
    red, blue, reddish = png("red.png", (220, 30, 30), "circle"), png("blue.png", (30, 30, 220), "square"), png("reddish.png", (210, 40, 35), "circle")
    broken, text = write("broken.png", open(red, "rb").read()[:60]), write("text.png", "no picture")
    describe_pictures(red, blue, broken, text)
    embed_pictures(red, blue, reddish, broken)
    draw_pictures()


def check_files(command, at):
    check_fails(2, "PICTURE is missing", command, *at)
    check_fails(2, "PICTURE: /nowhere/x.png: No such file", command, *at, "/nowhere/x.png")
    check_fails(2, f"PICTURE: {HOME}: is a directory", command, *at, HOME)
    check_fails(2, "only http and https", command, *at, "ftp://example.org/x.png")
    if not has_fetch():
        check_fails(1, "built without", command, *at, "https://example.org/x.png")


def describe_pictures(red, blue, broken, text):
    if not has_module("llama"):
        return skipped("describe", "the module cadre-llama is not in the build")
    at = ["--models", manifest(entry("shapes-llava", "vision", "llama", path=model("CADRE_TEST_LLAVA"), mmproj=model("CADRE_TEST_LLAVA_MMPROJ")), name="vision.json")]
    check_files("describe", at)
    check_fails(2, "--question is empty", "describe", *at, "-q", "", red)
    for path, color in ((red, "red"), (blue, "blue")):
        code, out, err = run("describe", *at, "-t0", "-n", "16", path)
        expect(f"describe: {color}, without a space before it", code == 0 and color in out and err == "" and not out.startswith(" "))
    lines = [json.loads(line) for line in run("describe", *at, "-t0", "-n", "16", "--json", red)[1].splitlines()]
    told = "".join(line.get("text", "") for line in lines)
    expect(f"--json, where the answer is as the model gave it: {told!r}", lines[-1]["type"] == "done" and "red" in told and told.startswith(" "))
    for path in (broken, text):
        code, out, err = run("describe", *at, "-t0", path)
        expect("no picture: exit code 1", code == 1 and "CADRE_EINPUT" in err and out == "")


def embed_pictures(red, blue, reddish, broken):
    if not has_module("onnx"):
        return skipped("embed-image", "the module cadre-onnx is not in the build")
    at = ["--models", manifest(entry("clip", "image-embedding", "onnx", "preloaded", path=model("CADRE_TEST_CLIP_ONNX")), name="clip.json")]
    check_files("embed-image", at)
    code, out, err = run("embed-image", *at, "--json", red, blue, red)
    vectors = json.loads(out)["embeddings"]
    expect("three vectors; the same picture gives the same one", code == 0 and err == "" and len(vectors) == 3 and vectors[0] == vectors[2] != vectors[1])
    matrix = json.loads(run("embed-image", *at, "--json", "--similarity", red, reddish, blue)[1])["similarity"]
    expect("the like picture is nearer", matrix[0][1] > matrix[0][2] and abs(matrix[1][1] - 1) < 1e-5)
    code, out, err = run("embed-image", *at, red, broken)
    expect("a damaged picture: exit code 1", code == 1 and "CADRE_EINPUT" in err and out == "")


def draw_pictures():
    at = ["--models", manifest(entry("canvas", "text-to-image", "diffusion", path=os.path.join(HOME, "damaged.gguf")), name="canvas.json")]
    out = os.path.join(HOME, "out.png")
    check_fails(2, "-o FILE is missing", "draw", *at, "a red square")
    check_fails(2, "PROMPT is missing", "draw", *at, "-o", out)
    check_fails(2, "PROMPT is empty", "draw", *at, "", "-o", out)
    check_fails(2, "is a directory", "draw", *at, "x", "-o", HOME)
    check_fails(2, "is not a regular file", "draw", *at, "x", "-o", "/dev/null")
    check_fails(2, "names a directory", "draw", *at, "x", "-o", os.path.join(HOME, "x.png/"))
    check_fails(2, "cannot write into the folder /nowhere", "draw", *at, "x", "-o", "/nowhere/x.png")
    check_fails(2, "--width: 99999 is not within 1 to 16384", "draw", *at, "x", "-o", out, "--width", "99999")
    locked = os.path.join(HOME, "locked")
    os.makedirs(locked, exist_ok=True)
    os.chmod(locked, 0o555)
    if os.geteuid() == 0:  # root may write anywhere: the program runs as somebody else
        os.chmod(HOME, 0o755)
        read_only = {"user": 65534, "group": 65534, "extra_groups": []}
    else:
        read_only = {}
    try:
        check_fails(2, f"cannot write into the folder {locked}: Permission denied", "draw", *at, "x", "-o", os.path.join(locked, "x.png"), **read_only)
    except PermissionError:
        skipped("a folder without permission", "nobody but root may run programs of this build folder")
    if not has_module("diffusion"):
        check_fails(3, "no cadre-diffusion.so" if has_module("llama") else "diffusion", "draw", *at, "x", "-o", out)
        return skipped("draw", "the module cadre-diffusion is not in the build")
    canvas = entry("flux", "text-to-image", "diffusion", "preloaded", diffusion_model=model("CADRE_TEST_FLUX"), clip_l=model("CADRE_TEST_CLIP_L"), taesd=model("CADRE_TEST_TAESD"), width=64, height=64)
    at = ["--models", manifest(canvas, name="flux.json")]
    write("out.png", "what was there before")
    code, text, err = run("draw", *at, "a red square", "-o", out, "--steps", "4", "--seed", "1", "--json")
    expect("draw --json", code == 0 and err == "" and {k: v for k, v in json.loads(text).items() if k != "seconds"} == {"model": "flux", "file": out, "width": 64, "height": 64})
    width, height, mean = read_png(out)
    expect(f"64 × 64, red: {mean}", (width, height) == (64, 64) and mean[0] > mean[1] + 40 and mean[0] > mean[2] + 40)
    code, text, err = run("draw", *at, "a blue square", "-o", "blue2.png", "--seed", "1")
    _, _, mean = read_png(os.path.join(HOME, "blue2.png"))
    expect(f"blue, into a file without a folder's name: {mean}", code == 0 and text == "" and "blue2.png: 64 x 64" in err and mean[2] > mean[0] + 40)
    os.rename(os.path.join(HOME, "blue2.png"), os.path.join(HOME, "kept.png"))
    os.chmod(os.path.join(HOME, "kept.png"), 0o604)
    os.makedirs(os.path.join(HOME, "links"), exist_ok=True)
    link = os.path.join(HOME, "links", "link.png")
    os.symlink("../kept.png", link)
    code, text, err = run("draw", *at, "a red square", "-o", link, "--seed", "1")
    _, _, mean = read_png(os.path.join(HOME, "kept.png"))
    expect(f"-o LINK: the link stays, its file is new and keeps its mode: {mean}", code == 0 and os.readlink(link) == "../kept.png" and mean[0] > mean[2] + 40 and os.stat(link).st_mode & 0o777 == 0o604)
    expect("only links are in the folder of links", os.listdir(os.path.join(HOME, "links")) == ["link.png"])
    expect("nothing else was left", not [name for name in os.listdir(HOME) if name.startswith(".cadre-cli")])


def plain():
    models = manifest(chat_entry(), embed_entry())
    check_help()
    check_completion(models)
    check_usage(models)
    check_manifests(models)
    check_chat(models)
    check_embed(models)
    check_health(models)
    check_ends(models)
    check_pictures()


# ---- terminal ----


class Screen:
    """What a terminal of this width shows: carriage return, newline, wrapping, "up", "erase below", colours ignored."""

    def __init__(self, columns):
        self.rows, self.y, self.x, self.columns = [""], 0, 0, columns

    def feed(self, text):
        for part in re.findall(r"\033\[\d*[A-Za-z]|.", text, re.S):
            if part == "\r":
                self.x = 0
            elif part == "\n":
                self.y += 1
            elif re.fullmatch(r"\033\[\d*A", part):
                self.y = max(0, self.y - int(part[2:-1] or 1))
            elif re.fullmatch(r"\033\[0?J", part):
                self.rows[self.y] = self.rows[self.y][: self.x]
                del self.rows[self.y + 1 :]
            elif part[0] != "\033":
                if self.x == self.columns:
                    self.x, self.y = 0, self.y + 1
                self.fill()
                row = self.rows[self.y].ljust(self.x)
                self.rows[self.y] = row[: self.x] + part + row[self.x + 1 :]
                self.x += 1
            self.fill()

    def fill(self):
        while len(self.rows) <= self.y:
            self.rows.append("")

    def text(self):
        return "\n".join(row.rstrip() for row in self.rows).rstrip("\n")


class Terminal:
    """The program on a terminal of its own."""

    def __init__(self, *arguments, columns=80):
        self.columns, self.raw, self.reads = columns, "", []
        master, slave = pty.openpty()
        self.master = master
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.process = subprocess.Popen([PROGRAM, *arguments], stdin=slave, stdout=slave, stderr=slave, env=ENVIRONMENT, cwd=HOME, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        print(f"$ cadre-cli {' '.join(arguments)}   (on a terminal)", flush=True)

    def read(self):
        """One read's worth; "" at the end."""
        if not select.select([self.master], [], [], PATIENCE)[0]:
            sys.exit(f"FAILED: nothing for {PATIENCE} s after {self.raw[-500:]!r}")
        try:
            piece = os.read(self.master, 65536).decode(errors="replace")
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            piece = ""
        self.raw += piece
        if piece:
            self.reads.append(piece)
        return piece

    def until(self, pattern, start=0):
        """Reads on until the pattern is there behind `start`; returns where it ends."""
        while not (found := re.search(pattern, self.raw[start:], re.S)):
            if not self.read():
                sys.exit(f"FAILED: the program ended before {pattern!r}: {self.raw[-500:]!r}")
        return start + found.end()

    def type(self, text):
        os.write(self.master, text.encode())

    def resize(self, columns):
        self.columns = columns
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def end(self):
        while self.read():
            pass
        code = self.process.wait(timeout=PATIENCE)
        os.close(self.master)
        print(self.screen(), f"\nexit code {code}\n", sep="", flush=True)
        check_nothing_left(self.process.pid)
        return code

    def screen(self):
        screen = Screen(self.columns)
        screen.feed(self.raw)
        return screen.text()


BAR = r"\rloading smollm2 \[[ =]{24}\]  [\d.]+ [kMG]?B, \d+\.\d s"


def check_bar(models):
    terminal = Terminal("--models", models, "chat", "-t0", "Name three colours.")
    end = terminal.until(BAR)
    expect("a bar appears during the load", True)
    code = terminal.end()
    answer = terminal.screen()
    expect("exit code 0", code == 0)
    expect("the bar is gone, the answer is there", "loading" not in answer and "[" not in answer and len(answer) > 5)
    rest = terminal.raw[terminal.raw.rindex("\r\033[J") + 4 :]
    expect("it was gone before the answer began", "loading" not in rest and Screen(80).feed(rest) is None and rest.replace("\r\n", "\n").strip() == answer.strip())
    pieces = [piece for piece in terminal.reads if "loading" not in piece and re.search(r"\w", piece.replace("\033[J", ""))]
    expect(f"the answer came in {len(pieces)} reads", len(pieces) >= 3)
    for flag in ("--quiet", "--verbose"):
        terminal = Terminal("--models", models, "chat", "-t0", "-n3", flag, "Hello.")
        expect(f"{flag}: no bar", terminal.end() == 0 and not re.search(BAR, terminal.raw) and "\033[J" not in terminal.raw)
    terminal = Terminal("--models", models, "chat", "--no-color", "--top-p", "2", "Hello.")
    expect("--no-color", terminal.end() == 2 and "\033" not in terminal.raw)
    terminal = Terminal("--models", models, "chat", "--top-p", "2", "Hello.")
    expect("with colours else", terminal.end() == 2 and "\033[1;31m" in terminal.raw)


def check_resize(models):
    for attempt in range(5):  # a load may be over before the terminal is narrow
        terminal = Terminal("--models", models, "chat", "-t0", "-n8", "Name three colours.", columns=100)
        at = terminal.until(BAR)
        terminal.resize(30)
        code = terminal.end()
        after = re.findall(r"\r(loading[^\r\033]*)", terminal.raw[at:])
        if code == 0 and "\033[1A" in terminal.raw[at:] and after:
            break
        print("the load was over too soon; once more")
    expect("a narrower terminal: the rows that the bar wrapped to are erased", code == 0 and "\033[1A\033[J" in terminal.raw[at:] or "\033[2A\033[J" in terminal.raw[at:])
    expect(f"then it fits: {after[-1]!r}", len(after[-1]) <= 29)


def check_interrupt(models):
    for number, key, expected in ((signal.SIGINT, "\x03", 130), (signal.SIGTERM, None, 143)):
        terminal = Terminal("--models", models, "chat", "-t0", STORY)
        terminal.until(r"\033\[J(?!.*loading).*\w{2,} \w+")
        terminal.type(key) if key else terminal.process.send_signal(number)
        code = terminal.end()
        expect(f"{number.name} in the middle of an answer: exit code {expected}, a newline at the end", code == expected and terminal.raw.endswith("\r\n"))
    terminal = Terminal("--models", models, "chat", "-t0", STORY)
    terminal.until(BAR)
    terminal.type("\x03")
    code = terminal.end()
    expect("Ctrl-C during the load: exit code 130, and the bar is gone", code == 130 and "loading" not in terminal.screen())
    terminal = Terminal("--models", models, "chat", "-t0", STORY)
    terminal.until(r"\033\[J(?!.*loading).*\w{2,} \w+")
    terminal.type("\x03")
    terminal.type("\x03")
    expect("two Ctrl-C at once: exit code 130", terminal.end() == 130)


PROMPT = r"\033\[1m> \033\[0m"


def check_chat_on_terminal(models):
    terminal = Terminal("--models", models, "chat", "-t0", "-n", "12", "--verbose")
    at = terminal.until(PROMPT)

    def turn(line):
        """A question; how many tokens its prompt and its answer have."""
        nonlocal at
        begin = at
        terminal.type(line + "\n")
        at = terminal.until(PROMPT, at)
        told = re.search(r"(\d+) tokens of prompt \(\d+ cached\), (\d+) generated", terminal.raw[begin:])
        return int(told[1]), int(told[2])

    first, second = turn("Name three colours."), turn("Name three colours.")
    expect(f"the second turn has the first before it: {first} {second}", second[0] > first[0] + first[1])
    for line, answer in (("/reset", "forgotten"), ("/rest", "did you mean /reset"), ("/help", "/quit"), ("   ", "")):
        begin = at
        terminal.type(line + "\n")
        at = terminal.until(PROMPT, at)
        expect(f"{line!r}: {answer!r}", answer in terminal.raw[begin:])
    expect("/reset has made it forget", turn("Name three colours.")[0] == first[0])
    begin = at
    terminal.type("/reset\n/system You are a pirate, and you love the sea and parrots and rum more than anything else in this world.\n")
    at = terminal.until("is set.*" + PROMPT, at)
    expect("/system is heard", turn("Name three colours.")[0] > first[0])
    terminal.type("/reset\n/system\n")
    at = terminal.until("no system message.*" + PROMPT, at)
    expect("/system alone takes it away", turn("Name three colours.")[0] == first[0])
    terminal.type("\x04")
    expect("Ctrl-D: exit code 0", terminal.end() == 0)

    terminal = Terminal("--models", models, "chat", "-t0", "--system", "You are a sailor.", "-n", "200")
    at = terminal.until(BAR + ".*" + PROMPT)
    expect("no bar is left at the prompt", "loading" not in terminal.screen())
    terminal.type(STORY + "\n")
    begin = terminal.until(r"sea\.\r\n", at)
    terminal.until(r"\w{2,} \w+", begin)
    terminal.type("\x03")
    at = terminal.until(r"\^C.*\r\n" + PROMPT, begin)
    expect("Ctrl-C during an answer: a newline and the prompt", terminal.process.poll() is None)
    terminal.type("Say yes.\n")
    at = terminal.until(PROMPT, at)
    begin = at
    terminal.type("Say no.\n/reset\n")
    at = terminal.until("forgotten.*" + PROMPT, at)
    expect("a line typed ahead waits for the end of the answer", re.search(r"\r\n\w.*\r\n" + PROMPT + ".*forgotten", terminal.raw[begin:], re.S))
    terminal.type("\x04")
    expect("then Ctrl-D: exit code 0", terminal.end() == 0)

    terminal = Terminal("--models", models, "chat")
    terminal.until(PROMPT)
    terminal.type("\x03")
    expect("Ctrl-C at the prompt: exit code 130", terminal.end() == 130)
    terminal = Terminal("--models", models, "chat")
    terminal.until(PROMPT)
    terminal.type("/quit\n")
    expect("/quit: exit code 0", terminal.end() == 0)
    terminal = Terminal("--models", models, "chat")
    terminal.until(PROMPT)
    terminal.process.send_signal(signal.SIGTERM)
    expect("SIGTERM at the prompt: exit code 143", terminal.end() == 143)
    terminal = Terminal("--models", models, "chat", "--timeout", "0.001")
    expect("--timeout is over during the load: exit code 4", terminal.end() == 4 and "CADRE_ETIMEDOUT" in terminal.raw and not re.search(PROMPT, terminal.raw))
    endless = write("endless.gbnf", 'root ::= "a" root\n')
    for seconds in (2, 10, 50):  # enough for a load and for some words, too little for an answer that fills the context
        terminal = Terminal("--models", models, "chat", "--timeout", str(seconds), "--grammar-file", endless)
        at = terminal.until("CADRE_ETIMEDOUT|" + PROMPT)
        if "CADRE_ETIMEDOUT" in terminal.raw:
            expect("the load takes longer: exit code 4", terminal.end() == 4)
            continue
        terminal.type("Hello.\n")
        terminal.until("CADRE_ETIMEDOUT.*" + PROMPT, at)
        terminal.type("\x04")
        code = terminal.end()
        if re.search("a{8}.*CADRE_ETIMEDOUT", terminal.raw[at:], re.S):
            break
    expect("a deadline ends a turn, not the chat", code == 0 and re.search("a{8}.*CADRE_ETIMEDOUT", terminal.raw[at:], re.S))
    terminal = Terminal("--models", manifest(entry("smollm2", "text-to-text", "llama", path=write("bad.gguf", b"GGUF" + b"\xff" * 200)), name="bad.json"), "chat")
    expect("a model that does not load: exit code 3", terminal.end() == 3 and "bad.gguf" in terminal.screen().replace("\n", ""))


def ensure_terminals():
    """Some containers have no pseudo-terminals. Root can mount some, seen by this test alone; else it is skipped, with a message."""
    try:
        for fd in pty.openpty():
            os.close(fd)
        return
    except OSError as e:
        why = e
    own = "mount -t devpts -o newinstance,ptmxmode=0666 devpts /dev/pts && mount --bind /dev/pts/ptmx /dev/ptmx"
    if os.geteuid() == 0 and not os.environ.get("CADRE_TEST_OWN_TERMINALS"):
        if subprocess.run(["unshare", "--mount", "sh", "-c", own], stderr=subprocess.DEVNULL).returncode == 0:
            os.environ["CADRE_TEST_OWN_TERMINALS"] = "1"
            FOLDER.cleanup()
            os.execvp("unshare", ["unshare", "--mount", "sh", "-c", own + ' && exec "$0" "$@"', sys.executable, *sys.argv])
    print(f"skipped: there are no pseudo-terminals ({why})")
    sys.exit(77)


def terminal():
    ensure_terminals()
    models = manifest(chat_entry(use_mmap=False), embed_entry())
    check_bar(models)
    check_resize(models)
    check_interrupt(models)
    check_chat_on_terminal(models)


if __name__ == "__main__":
    globals()[NAME]()
