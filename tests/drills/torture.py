"""Torture of sessions: many at once, each with random sends, pauses, half-closes, resets, slow
readers, small buffers and segments, urgent bytes and passed descriptors, over TCP and unix sockets
in all combinations, with and without a route that reads ahead. Both ends of every session are here,
so that each byte and each end can be compared with what the other end did:

  - what arrives is what was sent, up to where it ends; all of it if both ends close in order
  - what looks like an end over TCP is one, and has everything before it; a reset arrives as a reset
  - a session in which somebody could go on does so within a few seconds
  - at rest the balancer uses no CPU and no session is left

`torture.py [seed [seconds [sessions at once]]]`"""
import contextlib
import os
import pathlib
import random
import socket
import struct
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "cases"))
from support import PATIENCE, Alacrity, dead_address, eventually, free_port  # noqa: E402

STALL = 3 * PATIENCE  # seconds without progress that somebody could make
URGENT = b"\xff"  # no other byte is: it may or may not be part of what is read, as anywhere
BLOCK = random.Random(1).randbytes((1 << 20) + 7).replace(URGENT, b"")
ENDLESS = BLOCK * 2
ROUTE = """return { api = 1, kind = "route", name = "ahead", new = function(cfg)
  return { route = function(self, ctx) ctx:peek(1) ctx:peek(40) end } end }"""
PROFILES = {  # sends of an end, the most bytes of one, the longest pause between two
    "chat": (40, 200, 0.02), "bytes": (300, 1, 0), "mixed": (20, 100_000, 0.05),
    "bulk": (6, 1_500_000, 0.01), "silent": (1, 1, 0.3)}


class Way:
    """What goes from one end to the other."""

    def __init__(self, rng):
        self.start, self.sent, self.got = rng.randrange(len(BLOCK)), 0, 0
        self.ended = None  # fin, close, reset: what the sender did; broken: it could not send
        self.seen = None  # end or reset: what the receiver saw
        self.moved = time.monotonic()

    def expected(self, at, length):
        at = (self.start + at) % len(BLOCK)
        return ENDLESS[at:at + length]


class End:
    """One of the two ends of a session, with a plan of what it does."""

    def __init__(self, rng, connection, out, into, small, orderly):
        connection.setblocking(False)
        self.rng, self.socket, self.out, self.into = rng, connection, out, into
        self.unix = connection.family == socket.AF_UNIX
        self.born = time.monotonic()
        self.send_at = self.read_at = self.born
        count, most, self.pause = PROFILES[rng.choice(list(PROFILES))]
        self.sends = [rng.randint(1, min(most, 30_000 if small else most))
                      for _ in range(rng.randint(0, count))]
        self.last = "fin" if orderly else rng.choice(("fin", "close", "reset"))
        self.odd = rng.random() < 0.3  # urgent bytes and descriptors
        self.slow = rng.random() < 0.4
        self.blocked = False
        self.waits = False  # for the other's end, with its own

    def step(self, now):
        """Does what it can now. True: something."""
        moved = self.out.ended is None and now >= self.send_at and self.send(now)
        return (self.socket is not None and self.into.seen is None and now >= self.read_at
                and self.receive(now)) or moved

    def send(self, now):
        self.blocked = False
        if not self.sends:
            if self.waits and self.into.seen is None:
                return False
            self.end()
            return True
        data = self.out.expected(self.out.sent, min(self.sends[0], 1 << 18))
        try:
            if self.odd and self.rng.random() < 0.2:
                self.socket.send(URGENT, socket.MSG_OOB)
            if self.odd and self.unix and self.rng.random() < 0.2:
                count = socket.send_fds(self.socket, [data], [0])
            else:
                count = self.socket.send(data)
        except BlockingIOError:
            self.blocked = True
            return False
        except OSError:
            self.out.ended = "broken"
            return True
        self.out.sent += count
        self.out.moved = now
        self.sends[0] -= count
        if self.sends[0] == 0:
            self.sends.pop(0)
            self.send_at = now + (self.rng.random() * self.pause if self.rng.random() < .5 else 0)
        return True

    def end(self):
        self.out.ended, self.out.moved = self.last, time.monotonic()
        if self.last == "fin":
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                self.out.ended = "broken"
        else:
            if self.last == "reset" and not self.unix:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.socket.close()
            self.socket = None

    def receive(self, now):
        way = self.into
        hurried = not self.slow or now > self.born + 2
        try:
            data = self.socket.recv(1 << 18 if hurried else self.rng.choice((1, 100, 5000, 65536)))
        except BlockingIOError:
            return False
        except OSError:
            way.seen = "reset"
            return True
        if not data:
            way.seen = "end"
            return True
        data = data.replace(URGENT, b"")
        if data != way.expected(way.got, len(data)) or way.got + len(data) > way.sent:
            raise AssertionError(f"wrong bytes at {way.got} to {way.got + len(data)}")
        way.got += len(data)
        way.moved = now
        if not hurried and self.rng.random() < 0.1:
            self.read_at = now + self.rng.random() * self.rng.choice((0.01, 0.1, 0.7))
        return True

    def done(self):
        return self.socket is None or (self.into.seen and self.out.ended)


class Session:
    def __init__(self, number, rng, front, back, ahead):
        self.number, self.orderly = number, rng.random() < 0.5
        self.ways = Way(rng), Way(rng)
        # A reset may miss a window from which bytes were dropped, also without a balancer between.
        small = self.orderly and rng.random() < 0.4
        client = socket.socket(socket.AF_INET if isinstance(front, tuple) else socket.AF_UNIX)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF) if small else ():
            client.setsockopt(socket.SOL_SOCKET, option, rng.choice((4096, 16384)))
        if rng.random() < 0.2 and isinstance(front, tuple):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        client.settimeout(STALL)
        client.connect(front)
        first = rng.randint(1, 60) if ahead else 0
        if first:
            client.sendall(self.ways[0].expected(0, first))
            if first < 40:  # the route waits for more, or the end
                client.sendall(self.ways[0].expected(first, 40))
                first += 40
            self.ways[0].sent = first
        backend, _ = back.accept()
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF) if small and rng.random() < 0.5 else ():
            backend.setsockopt(socket.SOL_SOCKET, option, 4096)
        self.ends = (End(rng, client, *self.ways, small, self.orderly),
                     End(rng, backend, *self.ways[::-1], small, self.orderly))
        if rng.random() < 0.6:
            rng.choice(self.ends).waits = True

    def step(self, now):
        moved = self.ends[0].step(now)
        return self.ends[1].step(now) or moved

    def done(self):
        return all(end.done() for end in self.ends)

    def close(self):
        for end in self.ends:
            if end.socket is not None:
                end.socket.close()

    def check_progress(self, now):
        for sender, receiver in (self.ends, self.ends[::-1]):
            way = sender.out
            since = now - max(way.moved, receiver.read_at)
            waits = way.got < way.sent or way.ended not in (None, "broken") or sender.blocked
            if receiver.socket is not None and way.seen is None and waits and since > STALL:
                raise AssertionError(f"stalled for {since:.1f} s")

    def check_ends(self):
        for sender, receiver in (self.ends, self.ends[::-1]):
            way = sender.out
            if self.orderly:
                assert way.got == way.sent, "bytes are missing"
                assert way.ended == "fin" and way.seen == "end", "did not end in order"
            elif way.seen == "end" and not (receiver.unix or sender.unix or self.may_mislead(way)):
                assert way.ended in ("fin", "close"), "an end that is none"
                assert way.got == way.sent, "an end before the last byte"

    def may_mislead(self, way):
        """The receiver has had the error of its connection by sending; or the backend reset its
        connection at once, and the client was told in order that there is none."""
        back = self.ways[way is self.ways[0]]
        return back.ended == "broken" or (way is self.ways[1] and way.got == back.got == 0)

    def __str__(self):
        return f"session {self.number}: " + "; ".join(
            f"{name} ({'unix' if end.unix else 'tcp'}) sent {end.out.sent}, ended {end.out.ended}, "
            f"of which came {end.out.got}, seen {end.out.seen}, blocked {end.blocked}, "
            f"plans {end.last}, odd {end.odd}, slow {end.slow}"
            for name, end in zip(("client", "backend"), self.ends))


def listen(address):
    listening = socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(address)
    listening.listen(100)
    listening.settimeout(STALL)
    return listening


def text(address):
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else f"unix:{address}"


def torture(seed, seconds, at_once):
    """The number of sessions it took."""
    rng = random.Random(seed)
    config, kinds = {"listeners": {}, "pools": {}}, []
    with tempfile.TemporaryDirectory(prefix="alc", dir="/tmp") as folder, \
            contextlib.ExitStack() as stack:
        def address(kind, name):
            return ("127.0.0.1", free_port()) if kind == "tcp" else f"{folder}/{name}"

        for front in ("tcp", "unix"):
            for back in ("tcp", "unix"):
                for ahead in (False, True):
                    name = f"{front}-{back}{'-ahead' if ahead else ''}"
                    bind, server = address(front, name), address(back, name + ".back")
                    listener = {"bind": text(bind), "pool": name, "timeouts": {"idle": "60s"}}
                    config["listeners"][name] = listener
                    if ahead:
                        listener["route"] = {"script": "./ahead.lua"}
                    config["pools"][name] = {"suspect_after": 0, "backends": {
                        "live": text(server), "dead": dead_address()}}
                    kinds.append((bind, stack.enter_context(listen(server)), ahead))
        balancer = stack.enter_context(Alacrity(config, scripts={"ahead.lua": ROUTE}))
        deadline, number, running, checked = time.monotonic() + seconds, 0, [], 0
        while running or time.monotonic() < deadline:
            if len(running) < at_once and time.monotonic() < deadline:
                number += 1
                session = Session(number, random.Random(rng.random()), *rng.choice(kinds))
                running.append(session)
            now, moved = time.monotonic(), False
            for session in running:
                try:
                    moved = session.step(now) or moved
                    if now - checked > 0.5:
                        session.check_progress(now)
                    if session.done():
                        session.check_ends()
                except AssertionError as error:
                    print(f"seed {seed}: {error}: {session}", flush=True)
                    with contextlib.suppress(Exception):
                        print(balancer.admin("session", "list", plain=True), flush=True)
                    raise
            if now - checked > 0.5:
                checked = now
            for session in [session for session in running if session.done()]:
                session.close()
                running.remove(session)
            if not moved:
                time.sleep(0.0005)
        for name in config["listeners"]:
            balancer.at_rest(name)
        used = balancer.cpu()
        time.sleep(0.5)
        assert balancer.cpu() - used < 0.1, "it does not rest"
    return number


def main():
    given = [int(word) for word in sys.argv[1:4]]
    seed, seconds, at_once = given + [1, 60, 60][len(given):]
    print(f"seed {seed}: {torture(seed, seconds, at_once)} sessions, all well", flush=True)


if __name__ == "__main__":
    main()
