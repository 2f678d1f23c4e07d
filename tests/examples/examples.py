"""examples.py NAME SOURCE BUILD: runs one example on the real models and checks what it prints and how it ends; "documents" checks the documents."""
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile

NAME, SOURCE, BUILD = sys.argv[1:]
LINES = {"minimal": 30, "fetch": 45, "quickstart": 149, "registry": 249, "three_loaders": 149, "own_model": 149, "cancel_and_deadline": 149, "embed_in_your_loop": 149}
PATIENCE = 240  # seconds; a hang is a failure, speed is no matter here


def model(variable):
    path = os.environ.get(variable)
    if not path:
        sys.exit(f"{variable} is not set: it names the model's file (see tests/run.sh)")
    return path


def manifest(name):
    """A manifest of examples/, beside the programs, with a folder of links to the weights that it names."""
    weights = os.path.join(BUILD, "examples", "weights")
    os.makedirs(weights, exist_ok=True)
    for variable, file in (("CADRE_TEST_SMOLLM2", "SmolLM2-135M-Instruct.Q4_1.gguf"), ("CADRE_TEST_MINILM", "all-MiniLM-L6-v2.f16.gguf")):
        link = os.path.join(weights, file)
        if not os.path.exists(link):
            part = f"{link}.{os.getpid()}"
            os.symlink(os.path.abspath(model(variable)), part)
            os.replace(part, link)
    return os.path.join(BUILD, "examples", name)


def read(path):
    with open(os.path.join(SOURCE, path), encoding="utf-8") as f:
        return f.read()


def start(*arguments):
    return subprocess.Popen([os.path.join(BUILD, "examples", NAME), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run(*arguments):
    process = start(*arguments)
    out, err = (text.decode() for text in process.communicate(timeout=PATIENCE))
    print(f"$ {NAME} {' '.join(arguments)}\n{out}{err}exit code {process.returncode}\n")
    return process.returncode, out, err


def expect(what, condition):
    if not condition:
        sys.exit(f"FAILED: {what}")
    print("ok:", what)


def check_missing_file(*arguments):
    missing = "/nowhere/missing.gguf"
    code, _, err = run(missing, *arguments)
    expect("a missing file: exit code 1", code == 1)
    expect("the message names it", missing in err)


# ---- the programs ----


def minimal():
    code, out, err = run(manifest("models.json"))
    expect("exit code 0", code == 0)
    expect("an answer, and no message", len(out.strip()) >= 3 and err == "")
    code, _, err = run("/nowhere/models.json")
    expect("a missing manifest: exit code 1, and the message names it", code == 1 and "/nowhere/models.json" in err)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(read("examples/models.json").replace("weights/SmolLM2", "nowhere/SmolLM2"))
        file.flush()
        code, _, err = run(file.name)
        expect("missing weights: exit code 1, and the message names manifest and file", code == 1 and f"{file.name}:2:" in err and "nowhere/SmolLM2" in err)


def quickstart():
    chat, embed = model("CADRE_TEST_SMOLLM2"), model("CADRE_TEST_MINILM")
    code, out, _ = run(chat, embed)
    expect("exit code 0", code == 0)
    for key in ("smollm2", "minilm"):
        expect(f"{key}: progress", re.search(rf"^{key}: \w+ \d+ %$", out, re.M))
        expect(f"{key}: ready", re.search(rf"^{key}: ready after \d+\.\d\d s$", out, re.M))
    lines = [line for line in out.splitlines() if not re.match(r"(smollm2|minilm|most alike|loop lag)", line)]
    expect("an answer", len("".join(lines)) > 40)
    expect("the dog and the puppy are most alike", re.search(r'^most alike \(0\.\d+\): "A dog .*" and "A puppy .*"$', out, re.M))
    lag = r"  {} \d+\.\d\d \d+\.\d\d \d+\.\d\d"
    expect("the lag line", re.search("^loop lag, ms .p50 p99 max.:" + "".join(lag.format(phase) for phase in ("before", "during", "after")), out, re.M))
    check_missing_file(embed)

    code, out, err = run("--help")
    expect("--help: usage on stdout, exit code 0", code == 0 and out.startswith("usage: quickstart") and err == "")
    code, out, err = run()
    expect("no arguments: usage on stderr, exit code 2", code == 2 and err.startswith("usage: quickstart") and out == "")

    process = start(chat, embed)
    expect("the answer has begun", process.stdout.read(1) != b"")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    expect("SIGINT: exit code 130", process.returncode == 130)


def check_told(out, budget):
    """What the registry program prints in any case: every request has an end, and the table counts what was told."""
    accepted = sum(int(n) for n in re.findall(r"round \d+: (\d+) requests", out))
    expect(f"{accepted} requests, each answered once", accepted == 20 and out.count(" answers: ") == accepted)
    expect("the last line says so", out.endswith(f"\n{accepted} requests, {accepted} answered, 0 failed, nothing lost\n"))
    rows = re.findall(r"^(\S+) +(?:text-to-text|text-embedding) +\w+ +(\d+) +(\d+) +(\d+) +(\d+) +([\d.]+) +\d+$", out, re.M)
    expect("the table has the four models", [row[0] for row in rows] == ["smollm2", "smollm2-long", "smollm2-wide", "minilm"])
    for key, _, loads, evictions, answered, _ in rows:
        expect(f"{key}: {loads} loads, as told", int(loads) == len(re.findall(rf"ms  {key} +worker_ready after", out)))
        expect(f"{key}: {evictions} evictions, as told", int(evictions) == len(re.findall(rf"ms  {key} +evicted, to make room for", out)))
        expect(f"{key}: {answered} answers, as told", int(answered) == len(re.findall(rf"ms  {key} +answers: ", out)))
    expect("what is resident is within the budget", sum(float(row[5]) for row in rows) <= budget)
    expect("what a further load would meet", re.search(r"^what a load of 160 MB would meet now:\nhost: 167772160 bytes asked, ", out, re.M))
    return sum(int(row[3]) for row in rows)


def registry():
    models = manifest("registry.json")
    trace = os.path.join(BUILD, "examples", "trace.json")
    code, out, err = run("--metrics", "--health", "--trace", trace, models)
    expect("exit code 0, no message", code == 0 and err == "")
    expect("models were evicted to make room", check_told(out, 300) >= 2)
    expect("at most one chat model is there at a time", len(re.findall(r"^smollm2\S* .* ready +1 ", out, re.M)) == 1)

    metrics = re.search(r"^# HELP .*?\n(?=\{)", out, re.M | re.S)[0]
    check = [sys.executable, os.path.join(SOURCE, "tests", "prometheus_check.py"), "--in", os.path.join(SOURCE, "docs", "timeline.md")]
    done = subprocess.run(check, input=metrics, text=True, capture_output=True, timeout=PATIENCE)
    expect(f"the metrics are Prometheus' format, each documented {done.stdout}", done.returncode == 0)
    for sample in ('cadre_requests_completed_total{outcome="done"} 20', "cadre_requests_queued 0", 'cadre_memory_budget_bytes{device="0",name="host"} 314572800'):
        expect(f"they have {sample}", f"\n{sample}\n" in metrics)
    health = json.JSONDecoder().raw_decode(out, out.index('{"status"'))[0]
    expect("health is JSON, ok, with four models", health["status"] == "ok" and len(health["models"]) == 4)
    with open(trace, encoding="utf-8") as file:
        entries = json.load(file)
    for category, least in (("load", 4), ("run", 20), ("wait", 20), ("event", 20)):
        count = sum(entry.get("cat") == category and entry["ph"] != "e" for entry in entries)
        expect(f"the trace has {count} entries of the category {category}", count >= least)

    code, out, err = run("--memory", "2000", models)
    expect("where all models fit, none is evicted", code == 0 and err == "" and check_told(out, 2000) == 0)
    code, out, err = run("--memory", "100", models)
    expect("a budget that no chat model fits: exit code 1", code == 1 and "nothing lost" in out)
    expect("the message says which, where, and the numbers", re.search(r'registry\.json:2:5: models\[0\]: "smollm2" needs \d+ bytes of host', err))
    code, out, err = run("--trace", "/nowhere/trace.json", models)
    expect("a trace that cannot be written: told, and nothing else happens", code == 0 and "/nowhere/trace.json" in err)
    code, out, err = run("--help")
    expect("--help: usage on stdout, exit code 0", code == 0 and out.startswith("usage: registry") and err == "")
    for arguments in (["--what"], ["--memory"], ["--memory", "none", models], [models, models]):
        code, out, err = run(*arguments)
        expect("wrong arguments: usage on stderr, exit code 2", code == 2 and "usage: registry" in err and out == "")

    for wait_for in (b"load_started", b" answers: "):
        process = start(models)
        while wait_for not in process.stdout.readline():
            expect("the program goes on", process.poll() is None)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=PATIENCE)[0].decode()
        print(rest)
        expect(f"SIGINT after {wait_for.decode().strip()}: exit code 130, nothing lost", process.returncode == 130 and rest.endswith(", nothing lost\n"))


def own_model():
    code, out, err = run()
    expect("exit code 0, no message", code == 0 and err == "")
    lines = out.splitlines()
    events = [line.removeprefix("words: ") for line in lines if line.startswith("words: ")]
    expect("a load that fails is tried again", events[:5] == ["model_added: text-embedding", "load_started", "load_failed: the first attempt fails on purpose",
                                                            "load_started", "worker_ready"])
    expect("the model is removed", events[5:] == ["worker_stopping: the model was removed", "worker_gone", "model_removed"])
    vectors = [[float(x) for x in line.split()] for line in lines if not line.startswith("words: ")]
    expect("two vectors count three words each", len(vectors) == 2 and all(len(v) == 16 and sum(v) == 3 for v in vectors) and vectors[0] != vectors[1])


def three_loaders():
    code, out, _ = run(model("CADRE_TEST_MINILM"))
    expect("exit code 0", code == 0)
    pieces = re.search(r"in (\d+) pieces", out)
    expect("at least 16 pieces", pieces and int(pieces[1]) >= 16)
    expect("the vectors are equal", re.search(r"^4 vectors of 384 floats are equal ", out, re.M))
    check_missing_file()


def cancel_and_deadline():
    code, out, _ = run(model("CADRE_TEST_SMOLLM2"))
    expect("exit code 0", code == 0)
    errors = re.findall(r"^[\w ]+: (CADRE_\w+) after", out, re.M)
    expect("each of the five ended in its way", errors == ["CADRE_ECANCELED", "CADRE_ETIMEDOUT", "CADRE_ECANCELED", "CADRE_OK", "CADRE_OK"])
    expect("no piece came during the pause", ", 0 pieces while it was paused" in out)
    check_missing_file()


# ---- the server ----

END = b"\n.\n"
STORY = b"Tell me a long story about a lighthouse keeper and the sea.\n"


class Server:
    def __init__(self):
        self.process = start(model("CADRE_TEST_SMOLLM2"), "0")
        line = self.process.stdout.readline().decode()
        self.port = int(re.fullmatch(r"listening on 127\.0\.0\.1:(\d+)\n", line)[1])

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)
        _, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode == 0 and err == b""


def ping(client):
    client.sendall(b"ping\n")
    got = b""
    while len(got) < 5:
        got += client.recv(5 - len(got)) or sys.exit("FAILED: the server hung up on a ping")
    return got == b"pong\n"


def receive(client, end=END):
    """Everything up to the end of an answer, as the pieces that came."""
    pieces = []
    while end not in b"".join(pieces):
        pieces.append(client.recv(4096) or sys.exit(f"FAILED: the server hung up after {b''.join(pieces)}"))
    return pieces


def embed_in_your_loop():
    server = Server()
    asker, pinger = server.connect(), server.connect()
    asker.sendall(b"Name three colours.\n")
    pongs = 0
    while not select.select([asker], [], [], 0)[0]:
        expect("pong", ping(pinger)) if pongs == 0 else ping(pinger)
        pongs += 1
    expect(f"{pongs} pongs before the first piece, that is, during the load", pongs > 0)
    answer = b"".join(receive(asker))
    print(answer.decode())
    expect("an answer", len(answer) > 10 and not answer.startswith(b"error"))

    clients = [server.connect(), server.connect()]
    for client in clients:
        client.sendall(STORY)
    got, both = {client: b"" for client in clients}, False
    while not all(END in answer for answer in got.values()):
        for client in select.select([c for c in clients if END not in got[c]], [], [], PATIENCE)[0]:
            got[client] += client.recv(4096) or sys.exit("FAILED: the server hung up on a question")
        both = both or (all(got.values()) and not any(END in answer for answer in got.values()))
    expect("two clients get their answers at the same time, piece by piece", both)

    first, second = clients
    first.sendall(STORY)
    first.recv(1)
    first.sendall(b"Another?\n")
    expect("one question at a time", b"error: CADRE_EFULL" in b"".join(receive(first, b"error: CADRE_EFULL: the queue is full" + END)))
    expect("pong in the middle of an answer", ping(second))
    second.sendall(STORY)
    second.recv(1)
    second.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    second.close()  # with a reset
    first.close()
    asker.sendall(b"\nping\n")
    expect("an empty question is refused", b"CADRE_EINVAL" in b"".join(receive(asker, b"pong\n")))
    asker.sendall(b"Say hello.\n")
    expect("two clients that hung up harm nobody", len(b"".join(receive(asker))) > len(END))
    pinger.sendall(b"x" * 5000)
    try:
        over = pinger.recv(1) == b""
    except ConnectionResetError:
        over = True
    expect("a line too long: the server hangs up", over)

    expect("SIGINT, a client being connected: exit code 0, no message", server.interrupt())
    expect("the client is told", asker.recv(1) == b"")

    server = Server()
    expect("SIGINT during the load: exit code 0, no message", server.interrupt())
    server = Server()
    client = server.connect()
    client.sendall(STORY)
    client.recv(1)
    expect("SIGINT in the middle of an answer: exit code 0, no message", server.interrupt())
    expect("the answer came to an end before", b"".join(receive(client)).endswith(END))

    taken = socket.create_server(("127.0.0.1", 0))
    code, _, err = run(model("CADRE_TEST_SMOLLM2"), str(taken.getsockname()[1]))
    expect("a port that is taken: exit code 1 and why", code == 1 and "EADDRINUSE" in err)
    check_missing_file("0")


# ---- what is written ----


def run_sh():
    def sh(*arguments):
        done = subprocess.run(["sh", os.path.join(SOURCE, "examples", "run.sh"), *arguments], capture_output=True, text=True, timeout=PATIENCE)
        return done.returncode, done.stdout, done.stderr

    code, out, _ = sh("--help")
    expect("--help: exit code 0 and all names", code == 0 and all(name in out for name in LINES) and "--all" in out)
    code, out, err = sh("nothing_like_this")
    expect("an unknown name: exit code 1, named, with those that exist", code == 1 and "nothing_like_this" in err and all(name in err for name in LINES))


def documents():
    programs = {name[:-2] for name in os.listdir(os.path.join(SOURCE, "examples")) if name.endswith(".c")}
    expect("every example has its limit", programs == set(LINES))
    for name, limit in LINES.items():
        count = read(f"examples/{name}.c").count("\n")
        expect(f"{name}.c: {count} lines, at most {limit}", count <= limit)

    def blocks(document, language):
        return re.findall(rf"^```{language}\n(.*?)^```$", read(document), re.M | re.S)

    expect("the program in README.md is examples/minimal.c, byte for byte", blocks("README.md", "c") == [read("examples/minimal.c")])
    expect("the manifest in README.md is examples/models.json, byte for byte", blocks("README.md", "json") == [read("examples/models.json")])

    # The guide's samples are pieces of the examples, but for their indentation.
    def flat(text):
        return "\n".join(line.strip() for line in text.strip().splitlines())

    for language, ending in (("c", ".c"), ("json", ".json")):
        folders = ("examples", "examples/cadre-cli")
        sources = [flat(read(os.path.join(folder, name))) for folder in folders for name in os.listdir(os.path.join(SOURCE, folder)) if name.endswith(ending)]
        for block in blocks("docs/guide.md", language):
            expect(f"docs/guide.md: {block.splitlines()[0].strip()} … is in an example", any(flat(block) in source for source in sources))

    # Every name that the documents speak of is in a header or a build file.
    known = "".join(
        read(os.path.join(folder, name))
        for top in ("include", "examples", "src", "tests", ".")
        for folder, _, names in (os.walk(os.path.join(SOURCE, top)) if top != "." else [(SOURCE, [], os.listdir(SOURCE))])
        for name in names
        if name.endswith((".h", ".txt", ".cmake", ".sh")) and "build" not in os.path.relpath(folder, SOURCE).split(os.sep)
    )
    for document in ("README.md", "docs/guide.md", "docs/architecture.md", "docs/decisions.md", "docs/timeline.md", "docs/reliability.md", "docs/models.md"):
        text = read(document)
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            if not target.startswith("http"):
                expect(f"{document}: {target} exists", os.path.exists(os.path.join(SOURCE, os.path.dirname(document), target)))
        if document == "docs/timeline.md":
            continue  # its names of metrics are checked by prometheus_check.py
        text = re.sub(r"^```c\n.*?^```$", "", text, flags=re.M | re.S)  # compiled, and checked above
        for word in sorted(set(re.findall(r"\b(?:cadre|CADRE)_\w+", text))):
            if not word.endswith("_"):
                expect(f"{document}: {word} exists", re.search(rf"\b{word}\b", known))
        for word in sorted(set(re.findall(r"`NAME(_\w+)`?", text))):
            expect(f"{document}: NAME{word} exists", f"NAME##{word}" in known)
    expect("the guide shows every example", all(f"(../examples/{name}.c)" in read("docs/guide.md") for name in LINES))


globals()[NAME]()
