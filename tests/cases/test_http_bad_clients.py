"""The HTTP side: whatever a client does, it is answered where HTTP allows, bounded in time and
memory, and the others are served."""
import contextlib
import re
import socket
import time

import pytest

import support
from support import (PATIENCE, SANITIZED, Alacrity, Server, dial, eventually, free_port, read_all,
                     serve_name, web_over)


@pytest.fixture(scope="module")
def balancer():
    with Alacrity(web_over([Server(serve_name, "a")], free_port())) as running:
        keep, support._to_stop[:] = support._to_stop[:], []  # outlives the single story
        yield running
        support._to_stop.extend(keep)


def raw(balancer, data):
    """Sends the bytes, half-closes, and returns all that comes back."""
    with dial(balancer.stats_port) as client:
        with contextlib.suppress(OSError):
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while part := client.recv(65536):
                got += part
        return got


def statuses(answer):
    return [int(s) for s in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer)]


HOST = b"Host: x\r\n"


@pytest.mark.parametrize("name,data,status", [
    ("good", b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n", 200),
    ("old", b"GET /livez HTTP/1.0\r\n\r\n", 200),
    ("one word", b"GET\r\n\r\n", 400),
    ("no version", b"GET /livez\r\n\r\n", 400),
    ("empty lines only", b"\r\n\r\n\r\n\r\n", None),
    ("binary", bytes(range(256)) * 4 + b"\r\n\r\n", 400),
    ("NUL", b"GET /li\0vez HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    ("tls hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), 400),
    ("version 9.9", b"GET /livez HTTP/9.9\r\n" + HOST + b"\r\n", (400, 505)),
    ("no host", b"GET /livez HTTP/1.1\r\n\r\n", 400),
    ("two hosts", b"GET /livez HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
    ("two lengths", b"POST /x HTTP/1.1\r\n" + HOST +
     b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    ("bad length", b"POST /x HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", 400),
    ("space before colon", b"GET /livez HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    ("folded header", b"GET /livez HTTP/1.1\r\n" + HOST + b"A: b\r\n c\r\n\r\n", 400),
    ("chunked", b"POST /x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     (400, 411, 501)),
    ("unknown method", b"BREW /livez HTTP/1.1\r\n" + HOST + b"\r\n", (405, 501)),
    ("not allowed", b"DELETE /livez HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    ("not there", b"GET /nowhere HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    ("long target", b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    ("endless target", b"GET /" + b"a" * 500_000, 414),
    ("large header", b"GET /livez HTTP/1.1\r\n" + HOST + b"A: " + b"b" * 20_000 + b"\r\n\r\n", 431),
    ("many headers", b"GET /livez HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 500 + b"\r\n", 431),
    ("endless headers", b"GET /livez HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 100_000, 431),
    ("large body", b"POST /x HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999\r\n\r\n" +
     bytes(100_000), 413),
], ids=lambda value: value if isinstance(value, str) else "")
def test_torture(balancer, name, data, status):
    got = statuses(raw(balancer, data))
    if status is None:
        assert not got or got[0] == 400
    else:
        wanted = status if isinstance(status, tuple) else (status,)
        assert len(got) == 1 and got[0] in wanted, (name, got)
    assert balancer.get("/livez")[0] == 200


def test_405_says_what_is_allowed(balancer):
    assert b"\nallow:" in raw(balancer, b"PUT / HTTP/1.1\r\n" + HOST + b"\r\n").lower()


def test_pipelining_answers_all_in_order(balancer):
    request = b"GET /%s HTTP/1.1\r\n" + HOST + b"\r\n"
    last = b"GET /livez HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    answer = raw(balancer, (request % b"livez" + request % b"no") * 10 + last)
    assert statuses(answer) == [200, 404] * 10 + [200]


def test_keep_alive(balancer):
    with dial(balancer.stats_port) as client:
        for _ in range(20):
            client.sendall(b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n")
            head = b""
            while not head.endswith(b"ok\n"):
                part = client.recv(1000)
                assert part
                head += part
            assert statuses(head) == [200]


def test_a_request_byte_by_byte(balancer):
    with dial(balancer.stats_port) as client:
        for byte in b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":
            client.sendall(bytes([byte]))
        assert statuses(read_all(client)) == [200]


@pytest.mark.heavy
@pytest.mark.bound(90)
def test_a_drip_is_ended_by_a_deadline_for_the_whole_head(balancer):
    """One byte every 200 ms never lets an inactivity timeout fire."""
    start, got = time.monotonic(), b""
    with dial(balancer.stats_port) as client:
        client.settimeout(0.2)
        client.sendall(b"GET /livez HTTP/1.1\r\nX: ")
        while time.monotonic() - start < 40 * PATIENCE:
            with contextlib.suppress(TimeoutError):
                part = client.recv(1000)
                got += part
                break
            with contextlib.suppress(OSError):
                client.sendall(b"a")
    assert statuses(got) == [408]
    assert time.monotonic() - start < 30 * PATIENCE


@pytest.mark.heavy
@pytest.mark.bound(90)
def test_silent_connections_are_ended(balancer):
    with contextlib.ExitStack() as stack:
        quiet = [stack.enter_context(dial(balancer.stats_port)) for _ in range(20)]
        assert balancer.get("/livez")[0] == 200
        for client in quiet:
            client.settimeout(60)
            answer = read_all(client)
            assert statuses(answer) in ([], [408])


def test_a_flood_of_connections_leaves_the_page_reachable(balancer):
    before = balancer.rss()
    with contextlib.ExitStack() as stack:
        for _ in range(400):
            client = stack.enter_context(dial(balancer.stats_port))
            client.sendall(b"GET / HTTP/1.1\r\nX: ")
        assert SANITIZED or balancer.rss() - before < 16384
        assert balancer.running()
    eventually(lambda: balancer.get("/livez")[0] == 200)
    assert balancer.get("/stats.json")[0] == 200


def test_answers_nobody_reads(balancer):
    """Pipelined requests for the large page, and no reading: memory is bounded."""
    before = balancer.rss()
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            client = stack.enter_context(dial(balancer.stats_port))
            client.settimeout(0.5)
            with contextlib.suppress(OSError):
                for _ in range(200):
                    client.sendall((b"GET / HTTP/1.1\r\n" + HOST + b"\r\n") * 50)
        assert SANITIZED or balancer.rss() - before < 32768
        assert balancer.get("/livez")[0] == 200


def test_abandoned_requests_leave_nothing_behind(balancer):
    eventually(lambda: balancer.stats()["listeners"]["stats"]["sessions_active"] <= 1)
    before = balancer.fds()
    for number in range(200):
        client = dial(balancer.stats_port)
        client.sendall(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n" if number % 2 else b"GET /")
        client.close()
    eventually(lambda: balancer.fds() <= before + 2, "descriptors are given back")
