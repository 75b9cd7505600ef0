"""The admin socket: what an administrator does takes effect at once and is seen; strangers and
garbage do no harm."""
import contextlib
import json
import os
import re
import socket
import stat

import pytest

from support import (SANITIZED, Alacrity, Server, ask, command, dial, eventually, free_port,
                     serve_name, serve_named_echo, web_over)


@pytest.fixture
def pair():
    servers, port = [Server(serve_name, name) for name in "ab"], free_port()
    with Alacrity({**web_over(servers, port), "workers": 1}) as balancer:
        yield balancer, port


def listed(answer, key):
    return answer if isinstance(answer, list) else answer[key]


def test_only_its_user_may_connect(pair):
    balancer, _ = pair
    mode = os.stat(balancer.socket).st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600


def test_status(pair):
    balancer, _ = pair
    told = balancer.admin("status")
    assert told["configuration"] == 1
    assert balancer.admin("status", plain=True).strip()


def test_backend_list(pair):
    balancer, _ = pair
    told = listed(balancer.admin("backend", "list"), "backends")
    assert len(told) == 2
    text = json.dumps(told)
    assert '"a"' in text or "app/a" in text
    assert "a" in balancer.admin("backend", "list", plain=True)


@pytest.mark.parametrize("verb", ["drain", "maint"])
def test_drain_and_maint_take_a_backend_out(pair, verb):
    balancer, port = pair
    balancer.admin("backend", verb, "app/a")
    assert {ask(port) for _ in range(10)} == {b"b\n"}
    backend = balancer.backend("a")
    assert backend["state"] == backend["admin"] == verb
    balancer.admin("backend", "ready", "app/a")
    assert {ask(port) for _ in range(10)} == {b"a\n", b"b\n"}
    assert balancer.backend("a")["admin"] == "ready"


def test_open_sessions_survive_a_drain():
    server, port = Server(serve_named_echo, "a"), free_port()
    with Alacrity(web_over([server], port)) as balancer, dial(port) as stays:
        stays.recv(10)
        balancer.admin("backend", "drain", "app/a")
        stays.sendall(b"still here")
        assert stays.recv(100) == b"still here"


def test_weight(pair):
    balancer, port = pair
    balancer.admin("backend", "weight", "app/a", "3")
    answers = [ask(port) for _ in range(40)]
    assert answers.count(b"a\n") == 30
    assert balancer.backend("a")["weight"] == 3
    balancer.admin("backend", "weight", "app/a", "0")
    assert {ask(port) for _ in range(10)} == {b"b\n"}
    # People see in the list why it gets none, though it is up, and what else went wrong.
    titles, first, second = balancer.admin("backend", "list", plain=True).splitlines()
    titles = re.split("  +", titles)
    assert {"resets", "bad checks"} <= set(titles)
    at = titles.index("eligible")
    assert [re.split("  +", line)[at] for line in (first, second)] == ["no", "yes"]


@pytest.mark.parametrize("words", [
    ("backend", "drain", "app/nobody"), ("backend", "drain", "nowhere/a"), ("backend", "drain"),
    ("backend", "explode", "app/a"), ("backend",), ("backend", "weight", "app/a"),
    ("backend", "weight", "app/a", "heavy"), ("backend", "weight", "app/a", "-1"),
    ("backend", "weight", "app/a", "99999999999"), ("session", "kill", "1"),
    ("session", "kill", "x"), ("session",), ("backend", "drain", "app/" + "a" * 5000),
])
def test_nonsense_is_told(pair, words):
    balancer, port = pair
    assert balancer.admin(*words, ok=False).strip()
    assert {ask(port) for _ in range(4)} == {b"a\n", b"b\n"}
    assert balancer.backend("a")["weight"] == 1


@pytest.mark.parametrize("words,told", [
    (("backend", "weight", "app/a", "-1"), "from 0 to 1000000"),
    (("script", "shadow", "app", "random", "-1"), "from 1 to 1000000"),
    (("backend", "weight", "app/a", "-x"), "invalid option"),
])
def test_a_number_below_zero_is_no_option(pair, words, told):
    assert told in pair[0].admin(*words, ok=False, plain=True)


def test_session_list_and_kill():
    server, port = Server(serve_named_echo, "a"), free_port()
    with Alacrity(web_over([server], port)) as balancer, dial(port) as one, dial(port) as two:
        one.recv(10), two.recv(10)
        one.sendall(b"12345")
        one.recv(10)
        sessions = listed(balancer.admin("session", "list"), "sessions")
        assert len(sessions) == 2
        mine = next(s for s in sessions
                    if s["client"].endswith(":%d" % one.getsockname()[1]))
        assert mine["listener"] == "web" and mine["bytes_in"] == 5
        balancer.admin("session", "kill", str(mine["id"]))
        with pytest.raises(ConnectionResetError):  # it is cut, and that shows
            one.recv(10)
        two.sendall(b"still here")
        assert two.recv(100) == b"still here"
        eventually(lambda: balancer.listener()["ended"]["killed"] == 1)


def test_nobody_there(folder):
    done = command("status", "--socket", folder / "nobody.sock")
    assert done.returncode == 3
    assert "nobody.sock" in done.stderr


def raw(balancer, data, wait=5):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(wait)
        client.connect(str(balancer.socket))
        got = b""
        with contextlib.suppress(OSError):
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            while part := client.recv(65536):
                got += part
        return got


@pytest.mark.parametrize("data", [
    b"", b"\n", b"\n\n\n\n", b"\0", b"nonsense\n", bytes(range(256)), b"x" * 1_000_000,
    b"backend drain\n" * 1000, b"{}\n", b"[" * 100_000, b'{"verb":', b"\xff\xfe\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
], ids=lambda data: f"{data[:12]!r} of {len(data)}")
def test_garbage(pair, data):
    balancer, port = pair
    raw(balancer, data)
    balancer.admin("status")
    assert ask(port) in (b"a\n", b"b\n")


def test_many_who_connect_and_say_nothing(pair):
    balancer, _ = pair
    before, fds = balancer.rss(), balancer.fds()
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.settimeout(1)
            try:
                client.connect(str(balancer.socket))
                client.sendall(b"stat")
            except OSError:  # it may turn the surplus away
                break
        assert SANITIZED or balancer.rss() - before < 8192
        assert balancer.running()
    eventually(lambda: balancer.fds() <= fds + 1, "descriptors are given back")
    balancer.admin("status")


def test_the_stale_socket_of_a_dead_balancer_is_replaced():
    server = Server(serve_name, "a")
    first = Alacrity(web_over([server], free_port()))
    with first:
        first.process.kill()
        first.process.wait()
        assert first.socket.exists()
        config = {**web_over([server], free_port()), "admin": {"socket": str(first.socket)}}
        with Alacrity(config):
            assert command("status", "--socket", first.socket).returncode == 0
        first.ended(code=-9)
        first.stop = lambda: None


def test_off():
    server, port = Server(serve_name, "a"), free_port()
    with Alacrity({**web_over([server], port), "admin": {"socket": "off"}}) as balancer:
        assert not balancer.socket.exists()
        assert ask(port) == b"a\n"
