#!/usr/bin/env python3
"""A model hub on this machine, for the tests of libcadre-fetch: heads and files as the hub serves them, and every way of going wrong that a test asks for.

Two ports: the hub, and a store to which it redirects large files when it is told to. Commands come line by line on standard input, words separated by tabs, and
each is answered by one line (or, `log`, by lines and a line with a dot). It ends with its input. The first line that it prints is "HUBPORT STOREPORT".

  reset                                     forgets files, faults, log and switches
  file REPOSITORY REVISION COMMIT PATH SIZE SEED KIND    KIND: lfs (ETag: SHA-256), git (git's hash), weak (neither); answers "SHA256 ETAG"
  switch NAME VALUE                         redirect 0|1: large files come from the store; relative 0|1: a renamed repository; gated TOKEN: who has not it gets 401
  fault WHERE METHOD PATH TIMES KIND [ARGUMENTS…]        WHERE: hub or store; "*": any method, any path
      status CODE [HEADER: VALUE…]   cut BYTES   hold BYTES (until release, or the end)   corrupt OFFSET   length DIFFERENCE (Content-Length lies)
      norange   badrange   endless   etag VALUE   nohead HEADER (leaves a header out)   header NAME VALUE
  release                                   lets everybody go on who is held
  held N                                    answers when N answers are held
  log                                       METHOD PORT PATH RANGE AUTHORIZATION STATUS SENT, one line each, in the order of their ends; waits until all
                                            answers have ended but those that are held
"""
import hashlib
import http.server
import os
import random
import socketserver
import sys
import threading
import urllib.parse

CHUNK = 64 << 10
lock = threading.Condition()
state = {}


def reset():
    with lock:
        state.update(files={}, faults=[], log=[], switches={}, released=state.get("released", 0) + 1, held=0)
        lock.notify_all()


def make_file(repository, revision, commit, path, size, seed, kind):
    data = random.Random(int(seed)).randbytes(int(size))
    sha = hashlib.sha256(data).hexdigest()
    etag = {"lfs": sha, "git": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(), "weak": "v1-" + sha[:12]}[kind]
    with lock:
        for name in (revision, commit):
            state["files"][(repository, name, path)] = (data, etag, commit, kind)
    return f"{sha} {etag}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    where = "hub"

    def log_message(self, *arguments):
        pass

    def fault(self, path):
        """The first fault that is meant for this request, used up by one."""
        with lock:
            for entry in state["faults"]:
                where, method, name, times, kind, arguments = entry
                if where == self.where and method in ("*", self.command) and name in ("*", path) and times > 0:
                    entry[3] -= 1
                    return kind, arguments
        return None, []

    def note(self, status, sent):
        with lock:
            token = self.headers.get("Authorization", "-").replace(" ", "_")
            state["log"].append([self.command, self.where, self.path, self.headers.get("Range", "-"), token, str(status), str(sent)])

    def plain(self, status, headers, body=b""):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.note(status, 0)

    def find(self):
        """What a URL names: (file's key, file), or (key, None)."""
        parts = urllib.parse.urlsplit(self.path).path.lstrip("/").split("/")
        if self.where == "store" or "resolve" not in parts:
            parts = parts[1:] if self.where == "store" else parts
        if "resolve" not in parts:
            return None, None
        at = parts.index("resolve")
        repository = "/".join(parts[:at])
        revision = urllib.parse.unquote(parts[at + 1])
        path = urllib.parse.unquote("/".join(parts[at + 2:]))
        with lock:
            return (repository, revision, path), state["files"].get((repository, revision, path))

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        self.count(1)
        try:
            self.serve()
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True
        finally:
            self.count(-1)

    def count(self, change):
        with lock:
            state["busy"] = state.get("busy", 0) + change
            lock.notify_all()

    def serve(self):
        key, found = self.find()
        kind, arguments = self.fault(key[2] if key else self.path)
        switches = dict(state["switches"])
        if kind == "status":
            self.plain(int(arguments[0]), [tuple(a.split(": ", 1)) for a in arguments[1:]], b"what went wrong\n")
            return
        if self.where == "hub" and switches.get("gated") and self.headers.get("Authorization") != "Bearer " + switches["gated"]:
            self.plain(401, [("X-Error-Code", "GatedRepo"), ("X-Error-Message", "Access to it is restricted")])
            return
        if switches.get("relative") == "1" and key and key[0].startswith("old/"):
            self.plain(307, [("Location", self.path.replace("/old/", "/new/", 1))])
            return
        if not found:
            code = "EntryNotFound" if key and any(k[0] == key[0] and k[1] == key[1] for k in state["files"]) else "RepoNotFound"
            self.plain(404, [("X-Error-Code", code), ("X-Error-Message", "not found")])
            return
        self.file(key, found, kind, arguments, switches)

    def head_of(self, found, kind, arguments, linked):
        data, etag, commit, _ = found
        if kind == "etag":
            etag = arguments[0]
        headers = [("X-Repo-Commit", commit), ("ETag", f'"{etag}"')]
        if linked:
            headers += [("X-Linked-Etag", f'"{etag}"'), ("X-Linked-Size", str(len(data)))]
            headers[1] = ("ETag", '"of-the-redirect"')
        if kind == "header":
            headers = [h for h in headers if h[0] != arguments[0]] + [(arguments[0], arguments[1])]
        return [h for h in headers if not (kind == "nohead" and h[0] == arguments[0])]

    def file(self, key, found, kind, arguments, switches):
        data, etag, commit, sort = found
        if self.where == "hub" and switches.get("redirect") == "1" and sort == "lfs":
            host = self.headers["Host"].split(":")[0]
            target = f"http://{host}:{ports['store']}/objects{urllib.parse.quote(self.path)}?signature=secret"
            self.plain(302, self.head_of(found, kind, arguments, True) + [("Location", target)])
            return
        start, status = 0, 200
        wanted = self.headers.get("Range")
        if wanted and kind != "norange":
            start, status = int(wanted[6:].split("-")[0]), 206
            if start >= len(data):
                self.plain(416, [("Content-Range", f"bytes */{len(data)}")])
                return
        if kind == "badrange" and status == 206:
            start -= 1
        body = data[start:]
        if kind == "corrupt":
            offset = int(arguments[0]) - start
            if 0 <= offset < len(body):
                body = body[:offset] + bytes([body[offset] ^ 1]) + body[offset + 1:]
        self.send_response(status)
        if self.where == "hub":
            for name, value in self.head_of(found, kind, arguments, False):
                self.send_header(name, value)
        else:
            self.send_header("ETag", '"of-the-store"')
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_body(body, status, kind, arguments)

    def send_body(self, body, status, kind, arguments):
        if kind == "endless":
            self.send_header("Connection", "close")
        elif not (kind == "nohead" and arguments[0] == "Content-Length"):
            self.send_header("Content-Length", str(len(body) + (int(arguments[0]) if kind == "length" else 0)))
        self.end_headers()
        sent = 0
        try:
            if self.command == "HEAD":
                return
            stop = int(arguments[0]) if kind in ("cut", "hold") else len(body)
            while sent < len(body):
                if kind in ("cut", "hold") and sent >= stop:
                    if kind == "cut":
                        break
                    self.hold()
                    kind = None
                end = min(sent + CHUNK, stop) if sent < stop else sent + CHUNK
                self.wfile.write(body[sent:end])
                sent = min(end, len(body))
            while kind == "endless":
                self.wfile.write(bytes(CHUNK))
                sent += CHUNK
        finally:
            if self.command != "HEAD" and (kind in ("cut", "endless", "length") or sent < len(body)):
                self.close_connection = True
            self.note(status, sent)

    def hold(self):
        with lock:
            mine = state["released"]
            state["held"] += 1
            state["busy"] -= 1
            lock.notify_all()
            lock.wait_for(lambda: state["released"] != mine)
            state["busy"] += 1


class Store(Handler):
    where = "store"


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass  # a client that went away


def command(words):
    name = words[0]
    if name == "reset":
        reset()
    elif name == "file":
        return make_file(*words[1:])
    elif name == "switch":
        with lock:
            state["switches"][words[1]] = words[2]
    elif name == "fault":
        with lock:
            state["faults"].append([words[1], words[2], words[3], int(words[4]), words[5], words[6:]])
    elif name == "release":
        with lock:
            state["released"] += 1
            state["held"] = 0
            lock.notify_all()
    elif name == "held":
        with lock:
            while not lock.wait_for(lambda: state["held"] >= int(words[1]), 1):
                if os.getppid() == 1:  # the test was ended
                    os._exit(1)
    elif name == "log":
        with lock:
            lock.wait_for(lambda: state.get("busy", 0) == 0)
            return "\n".join(["\t".join(line) for line in state["log"]] + ["."])
    else:
        return "unknown command"
    return "ok"


reset()
servers = {"hub": Server(("127.0.0.1", 0), Handler), "store": Server(("127.0.0.1", 0), Store)}
ports = {name: server.server_address[1] for name, server in servers.items()}
for server in servers.values():
    threading.Thread(target=server.serve_forever, daemon=True).start()
print(ports["hub"], ports["store"], flush=True)
for line in sys.stdin:
    print(command(line.rstrip("\n").split("\t")), flush=True)
