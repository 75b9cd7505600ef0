"""What the black-box stories share: the balancer under test, servers to put behind it, clients.

A story starts the real binary on a configuration of its own, talks to it over real sockets and
reads its counters. Nothing here sleeps for a guessed time: `eventually` asks until an answer is
there, and everything has a deadline.
"""
import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("ALACRITY", str(ROOT / "build/release/alacrity"))
SANITIZED = next((s for s in ("asan", "tsan") if s in BINARY), "")
PATIENCE = 4 if SANITIZED else 1  # sanitizers are slow, and so is everything that waits for them
FULL = os.environ.get("FULL", "") not in ("", "0")
LIMIT = 20 * PATIENCE  # seconds one socket operation or awaited event may take

_to_stop = []


def stop_all():
    while _to_stop:
        with contextlib.suppress(Exception):
            _to_stop.pop().abandon()


def short_folder():
    path = pathlib.Path(tempfile.mkdtemp(prefix="alc", dir="/tmp"))

    class Folder:
        @staticmethod
        def abandon():
            shutil.rmtree(path, ignore_errors=True)

    _to_stop.insert(0, Folder)  # removed last
    return path


def eventually(ask, what="", seconds=None):
    """Asks until the answer is true, and returns it."""
    end = time.monotonic() + (seconds * PATIENCE if seconds else LIMIT)
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"did not happen in time: {what or ask}")
        time.sleep(0.02)


def settled(measure, still=0.4, seconds=None):
    """The value of `measure` once it has stayed the same for `still` seconds."""
    end = time.monotonic() + (seconds or LIMIT)
    last, since = measure(), time.monotonic()
    while time.monotonic() - since < still * PATIENCE:
        assert time.monotonic() < end, f"does not settle, now at {last}"
        time.sleep(0.02)
        value = measure()
        if value != last:
            last, since = value, time.monotonic()
    return last


# ---- ports ----

class Ports:
    """Numbers below the ephemeral range, from a share that belongs to this process alone: the
    share's lock file is held until it ends, so parallel runs cannot collide."""
    FIRST, SHARES, EACH = 18000, 46, 300

    def __init__(self):
        for share in range(self.SHARES):
            lock = open(f"/tmp/alacrity-test-ports-{share}.lock", "a", encoding="ascii")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.close()
                continue
            self.lock, self.first, self.at = lock, self.FIRST + share * self.EACH, 0
            return
        raise RuntimeError("no free share of ports")

    def take(self):
        for _ in range(self.EACH):
            port = self.first + self.at % self.EACH
            self.at += 1
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                with contextlib.suppress(OSError):
                    probe.bind(("", port))
                    return port
        raise RuntimeError("no free port")


_ports = None


def free_port():
    global _ports
    _ports = _ports or Ports()
    return _ports.take()


# ---- the balancer ----

SANITIZER_WORDS = re.compile(
    r"ERROR: AddressSanitizer|ERROR: LeakSanitizer|WARNING: ThreadSanitizer|runtime error:")


def command(*arguments, timeout=None):
    """Runs `alacrity ARGUMENTS` to its end."""
    done = subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True,
                          timeout=timeout or LIMIT, errors="replace")
    assert not SANITIZER_WORDS.search(done.stderr), done.stderr
    return done


class Alacrity:
    """The balancer on a configuration given as YAML text (or a map). What the story leaves out is
    added: an admin socket, JSON logs, two workers, and a listener `stats`. `scripts` are files
    to stand beside it."""

    OPTIONS = []  # of `run`, beside the file

    def __init__(self, config, *, scripts=None, descriptors=None, environment=None):
        self.folder = short_folder()
        self.file = self.folder / "alacrity.yaml"
        self.socket = self.folder / "admin.sock"
        self.stats_port = free_port()
        self.lines, self.heard = [], threading.Condition()
        self.write(config)
        for name, text in (scripts or {}).items():
            self.put(name, text)
        if descriptors:
            def limit():
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
        else:
            limit = None
        self.process = subprocess.Popen(
            [BINARY, "run", "-f", str(self.file), *self.OPTIONS], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            preexec_fn=limit, env={**os.environ, **(environment or {})}, cwd=self.folder)
        self.pid = self.process.pid
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        _to_stop.append(self)

    # -- configuration --

    def write(self, config):
        """A str or map is completed; bytes are written as they are."""
        if isinstance(config, bytes):
            self.file.write_bytes(config)
            return
        full = yaml.safe_load(config) if isinstance(config, str) else dict(config)
        full.setdefault("workers", 2)
        full.setdefault("admin", {"socket": str(self.socket)})
        full["log"] = {"format": "json", **full.get("log", {})}
        full["listeners"] = dict(full["listeners"])
        full["listeners"].setdefault("stats", {"bind": f"127.0.0.1:{self.stats_port}",
                                               "service": "stats"})
        dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # quick, where there is libyaml
        self.file.write_text(yaml.dump(full, Dumper=dumper, sort_keys=False), encoding="utf-8")

    def threads(self):
        """Name and folder under /proc of each thread; the folder's name is the thread's number."""
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            yield (task / "comm").read_text(encoding="ascii").strip(), task

    def put(self, name, text):
        """Writes a script beside the configuration."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    # -- life --

    def __enter__(self):
        self.wait_line(r"\bready\b")
        return self

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.stop()
        else:
            self.abandon()
            sys.stderr.write("---- the balancer's last lines ----\n")
            sys.stderr.write("".join(self.lines[-60:]))

    def stop(self, by=signal.SIGTERM, code=0):
        """Ends it, if it has not ended yet; checks how it ended."""
        if self.process.poll() is None:
            self.process.send_signal(by)
        return self.ended(code)

    def ended(self, code=0, seconds=None):
        """Waits for its end and checks it."""
        got = self.process.wait(seconds or LIMIT)
        self.reader.join(LIMIT)
        text = "".join(self.lines)
        assert not SANITIZER_WORDS.search(text), text[-20000:]
        assert got == code, f"exit code {got}, expected {code}:\n" + text[-4000:]
        return text

    def abandon(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def running(self):
        return self.process.poll() is None

    # -- what it says --

    def _read(self):
        for line in self.process.stdout:
            with self.heard:
                self.lines.append(line)
                self.heard.notify_all()
        with self.heard:
            self.heard.notify_all()

    def wait_line(self, pattern, seconds=None, since=0):
        """The first line from number `since` on that matches; waits for it."""
        matches = re.compile(pattern)
        end = time.monotonic() + (seconds or LIMIT)
        with self.heard:
            at = since
            while True:
                while at < len(self.lines):
                    if matches.search(self.lines[at]):
                        return self.lines[at]
                    at += 1
                left = end - time.monotonic()
                if left <= 0 or not self.reader.is_alive():
                    raise AssertionError(f"never said {pattern!r}:\n" + "".join(self.lines[-40:]))
                self.heard.wait(min(left, 1))

    # -- talking to it --

    def admin(self, *words, ok=True, plain=False):
        """`alacrity WORDS --json`; the parsed answer. `ok=False`: it must fail; its words."""
        options = ["--socket", str(self.socket)] + ([] if plain else ["--json"])
        done = command(*words, *options)
        if ok is None:
            return done
        if not ok:
            assert done.returncode != 0, f"{words} should have failed: {done.stdout}"
            return done.stdout + done.stderr
        assert done.returncode == 0, f"{words}: {done.returncode} {done.stdout} {done.stderr}"
        return done.stdout if plain else json.loads(done.stdout)

    def reload(self, config=None, ok=True):
        if config is not None:
            self.write(config)
        return self.admin("reload", ok=ok, plain=True)

    def get(self, path, method="GET"):
        connection = http.client.HTTPConnection("127.0.0.1", self.stats_port, timeout=LIMIT)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.getheader("content-type", ""), answer.read().decode()
        finally:
            connection.close()

    def stats(self):
        status, _, body = self.get("/stats.json")
        assert status == 200, body
        return json.loads(body)

    def listener(self, name="web"):
        return self.stats()["listeners"][name]

    def pool(self, name="app"):
        return self.stats()["pools"][name]

    def backend(self, name, pool="app"):
        return self.pool(pool)["backends"][name]

    def state(self, name, pool="app"):
        return self.backend(name, pool)["state"]

    def wait_state(self, name, state, pool="app", seconds=None):
        eventually(lambda: self.state(name, pool) == state, f"{pool}/{name} is {state}", seconds)

    def at_rest(self, listener="web"):
        """The statistics once no session of the listener is open: from then on they are exact."""
        def ask():
            stats = self.stats()
            return stats if stats["listeners"][listener]["sessions_active"] == 0 else None
        return eventually(ask, f"no session is open on {listener}")

    # -- what it costs --

    def rss(self):
        """Resident memory in KiB."""
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"VmRSS:\s*(\d+)", status).group(1))

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu(self):
        """Seconds of CPU it has used."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii")
        fields = fields.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ---- clients ----

def dial(address, timeout=None):
    """A connection to a port, a (host, port) or the path of a unix socket."""
    timeout = timeout or LIMIT
    if isinstance(address, int):
        address = ("127.0.0.1", address)
    if isinstance(address, tuple):
        return socket.create_connection(address, timeout=timeout)
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(timeout)
    client.connect(str(address))
    return client


def read_all(connection):
    parts = []
    while part := connection.recv(1 << 18):
        parts.append(part)
    return b"".join(parts)


def read_exactly(connection, count):
    parts, left = [], count
    while left > 0:
        part = connection.recv(min(left, 1 << 18))
        if not part:
            raise EOFError(f"ended {left} bytes early")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


QUESTION = b"q" * 32


def ask(address, question=QUESTION):
    """One short session: 32 bytes up, an answer down to its end."""
    with dial(address) as connection:
        connection.sendall(question)
        return read_all(connection)


def refused_politely(address):
    """The newcomer sees an orderly end, no answer and no reset."""
    with dial(address) as connection:
        return connection.recv(100) == b""


def reset(connection):
    """Closes with a reset instead of an orderly end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def random_bytes(count, seed):
    return random.Random(seed).randbytes(count)


def sha(data):
    return hashlib.sha256(data).hexdigest()


class Load:
    """Threads that each repeat `once(number)` at a steady pace until stopped. Exceptions and
    `False` are failures, kept in `failures`."""

    def __init__(self, once, *, threads=8, per_second=200):
        self.once, self.pause = once, threads / per_second
        self.done, self.failures = 0, []
        self.lock, self.stopping = threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True)
                        for i in range(threads)]

    def _run(self, index):
        due = time.monotonic() + self.pause * index / len(self.threads)
        while not self.stopping.wait(max(0, due - time.monotonic())):
            due = max(due + self.pause, time.monotonic() - 1)
            try:
                result = self.once(index)
                error = None if result is not False else AssertionError("wrong answer")
            except Exception as caught:  # every kind of failure counts
                error = caught
            with self.lock:
                self.done += 1
                if error is not None:
                    self.failures.append(error)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(LIMIT)
            assert not thread.is_alive(), "a client hangs"

    def wait_done(self, more):
        goal = self.done + more
        eventually(lambda: self.done >= goal, f"{more} more sessions")


# ---- servers to balance over ----

def serve_name(connection, server):
    """Answers a question of 32 bytes with its name and a newline."""
    read_exactly(connection, len(QUESTION))
    connection.sendall(server.name.encode() + b"\n")


def serve_echo(connection, _server):
    while part := connection.recv(1 << 18):
        connection.sendall(part)


def serve_patient_echo(connection, server):
    """For connections that rest longer than a test may take."""
    connection.settimeout(None)
    serve_echo(connection, server)


def serve_named_echo(connection, server):
    connection.sendall(server.name.encode() + b"\n")
    serve_echo(connection, server)


def serve_hash(connection, _server):
    """Reads to the end of the stream; only then answers."""
    digest = hashlib.sha256()
    while part := connection.recv(1 << 18):
        digest.update(part)
    connection.sendall(digest.hexdigest().encode())


def serve_http(connection, server):
    """200 (or server.status) to one request."""
    head = b""
    while b"\r\n\r\n" not in head:
        part = connection.recv(4096)
        if not part:
            return
        head += part
    connection.sendall(f"HTTP/1.1 {server.status} Word\r\nContent-Length: 0\r\n"
                       "Connection: close\r\n\r\n".encode())


class Server:
    """A server in this process: a thread accepts, a thread for each connection. `handler`
    gets the connection and the server; the connection is closed when it returns."""

    def __init__(self, handler=serve_name, name="s", address=None, backlog=1024):
        self.handler, self.name, self.status = handler, name, 200
        self.served, self.errors, self.lock = 0, [], threading.Lock()
        self.open = set()
        self.address = address or ("127.0.0.1", free_port())
        self.backlog, self.listening = backlog, None
        self.start()
        _to_stop.append(self)

    @property
    def port(self):
        return self.address[1]

    @property
    def text(self):
        """As it is written in a configuration."""
        if not isinstance(self.address, tuple):
            return f"unix:{self.address}"
        host, port = self.address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def start(self):
        if not isinstance(self.address, tuple):
            family = socket.AF_UNIX
        else:
            family = socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(self.address if isinstance(self.address, tuple) else str(self.address))
        listening.listen(self.backlog)
        self.listening = listening
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()

    def stop(self):
        """Accepts no more; connections in the queue are reset, open ones go on."""
        listening, self.listening = self.listening, None
        if listening:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept
            listening.close()

    def abandon(self):
        self.stop()
        with self.lock:
            connections = list(self.open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listening):
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            if listening is not self.listening:
                connection.close()
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        connection.settimeout(LIMIT * 4)
        with self.lock:
            self.open.add(connection)
        try:
            self.handler(connection, self)
            with self.lock:
                self.served += 1
        except (OSError, EOFError) as error:
            with self.lock:
                self.errors.append(error)
        finally:
            with self.lock:
                self.open.discard(connection)
            connection.close()


class ServerProcess:
    """The same server in a process of its own, which can be killed."""

    def __init__(self, handler=serve_name, name="s"):
        self.port = free_port()
        self.text, self.name = f"127.0.0.1:{self.port}", name
        self.process = subprocess.Popen(
            [sys.executable, __file__, handler.__name__, name, str(self.port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        _to_stop.append(self)
        assert self.process.stdout.readline() == b"ready\n"

    def kill(self):
        self.process.kill()
        self.process.wait()

    def abandon(self):
        self.kill()
        self.process.stdin.close()
        self.process.stdout.close()


def dead_address():
    """Nobody listens there."""
    return f"127.0.0.1:{free_port()}"


def backends(servers):
    return {server.name: server.text for server in servers}


def web_over(servers, port, **pool):
    """The most usual configuration: one listener `web` over one pool `app`."""
    return {"listeners": {"web": {"bind": f"127.0.0.1:{port}", "pool": "app"}},
            "pools": {"app": {**pool, "backends": backends(servers)}}}


def main():
    handler, name, port = sys.argv[1:]
    Server(globals()[handler], name, ("127.0.0.1", int(port)))
    print("ready", flush=True)
    sys.stdin.read()  # ends with the story that started us


if __name__ == "__main__":
    main()
