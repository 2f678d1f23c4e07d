#!/usr/bin/env python3
"""A web server that behaves in every way that a client may meet, for the tests of libcadre-fetch's HTTP layer. Raw sockets: most of it is not HTTP as it should be.

    server.py [CERTIFICATE KEY]

The first line that it prints is "PLAIN OTHER FULL BLUNT TLS": ports of 127.0.0.1. OTHER answers as PLAIN does (another origin); nobody is let in at FULL, whose queue
of connections is full; BLUNT answers before it was asked, and not in HTTP; TLS is 0 without a certificate. Commands come line by line on standard input; it ends with its input:

    reset      forgets the log, lets go whoever is held
    log        one line for each request, in their order: METHOD PATH AUTHORIZATION RANGE USER-AGENT (words; "-": none), then a line with a dot
    held N     answers "N" when N connections are held at once
  holding    answers how many are held now

What a path does is said by its first part: see ROUTES. More routes: add a function of (Exchange, arguments…) with @route."""
import http
import os
import socket
import ssl
import struct
import sys
import threading
import urllib.parse

lock = threading.Condition()
log = []
state = {"held": 0, "round": 0}
ROUTES = {}
PIECE = 256 << 10


def body(size, start=0):
    """Bytes start … size of the one file that there is; every byte tells its place."""
    pattern = b"".join(struct.pack(">I", n) for n in range(start // 4, (size + 3) // 4))
    return pattern[start % 4:start % 4 + size - start]


class Exchange:
    """One request and its answer."""

    def __init__(self, connection, ports, method, target, headers):
        self.connection, self.ports, self.method, self.headers = connection, ports, method, headers
        parts = urllib.parse.urlsplit(target)
        self.path, self.query = parts.path, urllib.parse.parse_qs(parts.query)
        self.keep = True

    def send(self, data):
        self.connection.sendall(data)

    def head(self, status, headers=(), length=None):
        lines = [f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase if status in set(http.HTTPStatus) else 'Whatever'}"]
        lines += [f"{name}: {value}" for name, value in headers]
        lines += [header for header in self.query.get("h", [])]
        if length is not None:
            lines.append(f"Content-Length: {length}")
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def answer(self, status, data=b"", headers=()):
        self.head(status, headers, len(data))
        if self.method != "HEAD":
            self.send(data)

    def hold(self):
        """Until the client goes, or the test says reset."""
        with lock:
            mine = state["round"]
            state["held"] += 1
            lock.notify_all()
        self.connection.settimeout(0.05)
        try:
            while state["round"] == mine:
                try:
                    if not self.connection.recv(4096):
                        break
                except TimeoutError:
                    pass
        except OSError:
            pass
        with lock:
            state["held"] -= 1
        self.close()

    def close(self):
        self.keep = False

    def reset(self):
        """A connection that is cut, not ended."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


def route(function):
    ROUTES[function.__name__] = function
    return function


@route
def file(x, size):
    """A file, by ranges where they are asked for."""
    asked = x.headers.get("range")
    start = int(asked.split("=")[1].rstrip("-")) if asked else 0
    size = int(size)
    if asked and start >= size:
        x.answer(416, b"", [("Content-Range", f"bytes */{size}")])
    elif asked:
        x.answer(206, body(size, start), [("Content-Range", f"bytes {start}-{size - 1}/{size}")])
    else:
        x.answer(200, body(size))


@route
def norange(x, size):
    x.answer(200, body(int(size)))


@route
def badrange(x, size):
    x.answer(206, body(int(size), 4), [("Content-Range", f"bytes 4-{int(size) - 1}/{size}")])


@route
def status(x, code):
    x.answer(int(code), b"" if code in ("204", "304") else b"what went wrong\n")


@route
def redirect(x, code):
    x.answer(int(code), b"moved\n", [("Location", x.query["to"][0])] if "to" in x.query else [])


@route
def loop(x, count):
    """Redirects COUNT times, then answers."""
    if int(count):
        x.answer(302, b"", [("Location", f"/loop/{int(count) - 1}")])
    else:
        x.answer(200, b"there\n")


@route
def longredirect(x):
    x.head(302, [("Location", "/file/16")])
    for _ in range(64):
        x.send(bytes(4096))
    x.close()


@route
def echo(x):
    x.answer(200, "".join(f"{name}: {value}\n" for name, value in sorted(x.headers.items())).encode())


@route
def cut(x, sent, announced):
    x.head(200, length=int(announced))
    x.send(body(int(sent)))
    x.close()


@route
def rst(x, sent, announced):
    x.head(200, length=int(announced))
    x.send(body(int(sent)))
    x.reset()


@route
def excess(x, announced, sent):
    """More than was announced."""
    x.head(200, length=int(announced))
    x.send(body(int(sent)))
    x.close()


@route
def nolength(x, size):
    x.head(200, [("Connection", "close")])
    x.send(body(int(size)))
    x.close()


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


@route
def chunked(x, size, piece, end="whole"):
    x.head(200, [("Transfer-Encoding", "chunked")])
    data, piece = body(int(size)), int(piece)
    for at in range(0, len(data), piece):
        x.send(chunk(data[at:at + piece]))
    if end == "whole":
        x.send(b"0\r\nX-Trailer: late\r\n\r\n")
    elif end == "garbage":
        x.send(b"what is this\r\n")
        x.close()
    else:
        x.close()


@route
def stall(x, where, sent="0"):
    if where == "line":
        x.send(b"HTTP/1.1 2")
    elif where == "body":
        x.head(200, length=90000)
        x.send(body(int(sent)))
    x.hold()


@route
def trickle(x):
    """A byte now and then, for ever."""
    x.head(200, length=1 << 20)
    x.connection.settimeout(0.02)
    while True:
        x.send(b"x")
        try:
            if not x.connection.recv(1):
                break
        except TimeoutError:
            pass
    x.close()


@route
def endless(x, code="200"):
    x.head(int(code), [("Connection", "close")])
    while True:
        x.send(bytes(PIECE))


@route
def bulk(x, size):
    """Much, and fast: what is sent is not made anew."""
    piece, left = memoryview(bytes(PIECE)), int(size)
    x.head(200, length=left)
    while left:
        x.send(piece[:min(left, PIECE)])
        left -= min(left, PIECE)


@route
def hugehead(x, kind):
    x.send(b"HTTP/1.1 200 OK\r\n")
    if kind == "line":
        x.send(b"X-Long: " + b"a" * 300000 + b"\r\n")
    else:
        for n in range(1 << 30 if kind == "endless" else 3000):
            x.send(b"X-%06d: %s\r\n" % (n, b"a" * 60))
    x.send(b"Content-Length: 0\r\n\r\n")


@route
def raw(x, kind):
    x.send({"garbage": b"\x00\x01\x02 not a web server\r\n\r\n" * 40, "old": b"no head at all, HTTP/0.9\n", "empty": b"",
            "status": b"HTTP/1.1 abc\r\n\r\n", "length": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nx",
            "nul": b"HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 1\r\n\r\nx",
            "interim": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nX-Last: yes\r\nContent-Length: 2\r\n\r\nok",
            "hugelength": b"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\nx",
            "overlength": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nx",
            "lower": b"HTTP/1.1 200 OK\r\netag:   \"abc\"  \r\nX-Empty:\r\ncontent-length: 2\r\n\r\nok",
            "minus": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nx"}[kind])
    x.close()


@route
def gzip(x):
    x.answer(200, b"\x1f\x8b", [("Content-Encoding", "gzip")])


def read_request(reader):
    line = reader.readline(65536).decode("latin-1").split()
    if len(line) < 3:
        return None
    headers = {}
    while True:
        text = reader.readline(65536).decode("latin-1")
        if text in ("\r\n", "\n", ""):
            return line[0], line[1], headers
        name, _, value = text.partition(":")
        headers[name.lower()] = value.strip()


def serve(connection, ports, context):
    try:
        if context:
            connection = context.wrap_socket(connection, server_side=True)
        reader = connection.makefile("rb")
        while True:
            request = read_request(reader)
            if not request:
                break
            method, target, headers = request
            with lock:
                words = [method, target] + [headers.get(name, "-").replace(" ", "_") for name in ("authorization", "range", "user-agent")]
                log.append(" ".join(words))
            if method == "CONNECT":  # a proxy, to wherever
                host, _, port = target.rpartition(":")
                connection.sendall(b"HTTP/1.1 200 Connected\r\nX-Proxy: yes\r\n\r\n")
                tunnel(connection, reader, (host if host[0].isdigit() else "127.0.0.1", int(port)))
                break
            x = Exchange(connection, ports, method, target, headers)
            name, *arguments = x.path.lstrip("/").split("/")
            if name in ROUTES:
                ROUTES[name](x, *arguments)
            else:
                x.answer(404, b"no such route\n")
            if not x.keep:
                break
        reader.close()
    except (OSError, ValueError):
        pass
    finally:
        connection.close()


def tunnel(connection, reader, address):
    def pump(source, sink):
        try:
            while True:
                data = source(65536)
                if not data:
                    break
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass
    far = socket.create_connection(address)
    back = threading.Thread(target=pump, args=(far.recv, connection), daemon=True)
    back.start()
    pump(reader.read1, far)
    back.join()
    far.close()


def listen(ports, context=None):
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def accept():
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=serve, args=(connection, ports, context), daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


def full(keep):
    """A port at which connections wait for ever: its queue is full, and the system drops whoever knocks."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    keep.append(listener)
    while True:
        one = socket.socket()
        one.settimeout(0.2)
        try:
            one.connect(listener.getsockname())
            keep.append(one)
        except OSError:
            return listener.getsockname()[1]


def blunt():
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def accept():
        while True:
            connection, _ = listener.accept()
            connection.sendall(b"220 another protocol\r\n")
            connection.recv(65536)
            connection.close()
    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


def main():
    ports, keep, context = {}, [], None
    if len(sys.argv) > 2:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[1], sys.argv[2])
    ports["plain"], ports["other"], ports["full"] = listen(ports), listen(ports), full(keep)
    ports["tls"] = listen(ports, context) if context else 0
    print(ports["plain"], ports["other"], ports["full"], blunt(), ports["tls"], flush=True)
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "reset":
            with lock:
                log.clear()
                state["round"] += 1
            print("ok", flush=True)
        elif command == "log":
            with lock:
                print("\n".join(log + ["."]), flush=True)
        elif command == "held":
            with lock:
                while state["held"] < int(arguments[0]):
                    lock.wait(1)
                    if os.getppid() == 1:  # the test was ended
                        os._exit(1)
            print(arguments[0], flush=True)
        elif command == "holding":
            with lock:
                print(state["held"], flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
