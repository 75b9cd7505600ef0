"""Streams are spliced, and where they cannot be the naive way is right: without pipes, with a kernel
that refuses at any moment, with more streams than pipes. Every byte is compared."""
import errno
import os
import pathlib
import re
import socket
import subprocess
import threading

import pytest

from support import (LIMIT, SANITIZED, Alacrity, Server, dial, eventually, free_port,
                     random_bytes, read_all, read_exactly, serve_echo, settled,
                     web_over)

MIB = 1 << 20
PIPES = 64  # of a worker
DATA = random_bytes(8 * MIB, 1)


def told(balancer):
    """What the workers tell of splicing, together; the same in /metrics and `status`."""
    def ask_all():
        names = {"spliced_bytes_total": "spliced_bytes_total", "pipes": "pipes",
                 "no_pipe_total": "splice_no_pipe_total",
                 "splice_refused_total": "splice_refused_total"}
        before = balancer.stats()["workers"]
        sums = {key: sum(worker[key] for worker in before) for key in names}
        metrics = balancer.get("/metrics")[2]
        for key, name in names.items():
            values = re.findall(rf"^alacrity_worker_{name}{{.*}} (\d+)$", metrics, re.M)
            assert len(values) == len(before)
            if sum(map(int, values)) != sums[key]:
                return None
        status = balancer.admin("status")["workers"]
        return sums if all(sum(w[key] for w in status) == sums[key] for key in names) else None
    return eventually(ask_all, "at rest all three tell the same")


def up_and_down(port, data):
    """Sends it all to an echo, half-closes, and returns what came back."""
    with dial(port) as client:
        def send():
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        sender = threading.Thread(target=send)
        sender.start()
        got = read_all(client)
        sender.join(LIMIT)
        return got


def exact(balancer, sessions, each):
    web = balancer.at_rest()["listeners"]["web"]
    assert web["bytes_in_total"] == web["bytes_out_total"] == sessions * each
    assert web["ended"]["done"] == sessions


@pytest.fixture
def echo():
    return Server(serve_echo, "echo"), free_port()


def test_a_stream_is_spliced_both_ways(echo):
    server, port = echo
    with Alacrity(web_over([server], port)) as balancer:
        assert up_and_down(port, DATA) == DATA
        exact(balancer, 1, len(DATA))
        sums = told(balancer)
        assert sums["no_pipe_total"] == sums["splice_refused_total"] == 0
        assert SANITIZED or sums["spliced_bytes_total"] > len(DATA)  # of twice as many
        assert sums["spliced_bytes_total"] <= 2 * len(DATA)
        assert "spliced" in balancer.get("/")[2]


def test_switched_off(echo):
    server, port = echo
    with Alacrity({**web_over([server], port), "splice": False}) as balancer:
        assert up_and_down(port, DATA) == DATA
        exact(balancer, 1, len(DATA))
        assert set(told(balancer).values()) == {0}
        balancer.reload({**web_over([server], port), "splice": True})
        assert up_and_down(port, DATA) == DATA
        assert told(balancer)["spliced_bytes_total"] > 0


def test_pipes_that_rest_are_closed(echo):
    server, port = echo
    with Alacrity({**web_over([server], port), "workers": 1}) as balancer:
        before = settled(balancer.fds)
        threads = [threading.Thread(target=up_and_down, args=(port, DATA)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
        balancer.at_rest()
        eventually(lambda: told(balancer)["pipes"] == 0, "no pipe is kept for nothing")
        assert eventually(lambda: balancer.fds() <= before, "all descriptors are back")


# ---- a kernel that refuses ----

@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    path = tmp_path_factory.mktemp("shim") / "splice_shim.so"
    subprocess.run(["gcc", "-D_GNU_SOURCE", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(path),
                    str(pathlib.Path(__file__).with_name("splice_shim.c"))], check=True)
    return path


def failing(shim, server, port, how):
    options = os.environ.get("ASAN_OPTIONS", "")
    return Alacrity({**web_over([server], port), "workers": 1},
                    environment={"LD_PRELOAD": str(shim), "SPLICE_FAILS": how,
                                 "ASAN_OPTIONS": options + ":verify_asan_link_order=0"})


@pytest.mark.parametrize("error", ["EINVAL", "ENOSYS", "EPERM"])
@pytest.mark.parametrize("good_calls", [0, 5])
@pytest.mark.parametrize("half", ["read", "write"])
def test_refused(half, good_calls, error, shim, echo):
    server, port = echo
    with failing(shim, server, port, f"{half} {good_calls} {getattr(errno, error)}") as balancer:
        for _ in range(3):
            assert up_and_down(port, DATA) == DATA
        exact(balancer, 3, len(DATA))
        sums = told(balancer)
        assert 2 <= sums["splice_refused_total"] <= 3  # the first may get by with 5
        assert sums["no_pipe_total"] == 0
        balancer.wait_line("the kernel does not splice")
        assert "splice refused" in balancer.get("/")[2]


@pytest.mark.parametrize("how", ["pipe 0 24", "pipe 1 23", "size 0 1"])
def test_no_pipe_to_be_had(how, shim, echo):
    """None at all; fewer than it takes; none but those the kernel makes tiny."""
    server, port = echo
    with failing(shim, server, port, how) as balancer:
        before = settled(balancer.fds)
        threads = [threading.Thread(target=lambda: wrong.append(up_and_down(port, DATA) != DATA))
                   for _ in range(4)]
        wrong = []
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
        assert wrong == [False] * 4
        exact(balancer, 4, len(DATA))
        sums = told(balancer)
        assert sums["splice_refused_total"] == 0
        assert sums["no_pipe_total"] > 0 or how == "pipe 1 23"  # one may do for all
        assert (sums["spliced_bytes_total"] > 0) == (how == "pipe 1 23")
        eventually(lambda: balancer.fds() <= before, "all descriptors are back")


# ---- more than there are pipes ----

@pytest.mark.bound(120)
def test_two_hundred_streams():
    """To readers that come late, so that all pipes are full; some vanish with bytes on the way."""
    count, block = 200 if not SANITIZED else 100, random_bytes(MIB, 7)

    def flood(connection, _server):
        read_exactly(connection, 1)
        for _ in range(4):
            connection.sendall(block)

    server, port = Server(flood, "flood"), free_port()
    config = {**web_over([server], port), "workers": 1}
    with Alacrity(config) as balancer:
        before = settled(balancer.fds)
        clients = []
        for _ in range(count):
            client = socket.socket()
            client.settimeout(LIMIT * 2)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
            client.connect(("127.0.0.1", port))
            client.sendall(b"x")
            clients.append(client)
        settled(lambda: balancer.listener()["bytes_out_total"], seconds=60)
        sums = told(balancer)
        assert sums["pipes"] == PIPES and sums["no_pipe_total"] > 0
        assert balancer.fds() <= before + 2 * count + 2 * PIPES
        for client in clients[::10]:
            client.close()
        for number, client in enumerate(clients):
            if number % 10 != 0:
                for _ in range(4):
                    assert read_exactly(client, MIB) == block, f"stream {number}"
                assert client.recv(1) == b""
                client.close()
        balancer.at_rest()
        eventually(lambda: told(balancer)["pipes"] == 0, "no pipe is kept", seconds=30)
        eventually(lambda: balancer.fds() <= before, "all descriptors are back")


@pytest.mark.parametrize("spare", [24, 25])
def test_descriptors_are_for_sessions_first(spare):
    """Pipes at rest hold those a newcomer needs, to be accepted or for its backend: they are given
    back at once."""
    def serve(connection, _server):
        first = connection.recv(1)
        if first == b"b":
            connection.sendall(DATA)
        else:
            connection.sendall(b"quick")
            connection.recv(1)

    server, port = Server(serve, "s"), free_port()
    config = {**web_over([server], port), "workers": 1}
    with Alacrity(config) as probe:
        at_rest = settled(probe.fds)
    with Alacrity(config, descriptors=at_rest + spare) as balancer:
        for _ in range(20):
            bulk = [dial(port) for _ in range(4)]  # 8 for them, up to 8 for their pipes
            for client in bulk:
                client.sendall(b"b")
            for client in bulk:
                assert read_exactly(client, len(DATA)) == DATA
                client.close()
            many = [dial(port) for _ in range(9)]  # 18: too many beside the pipes
            for client in many:
                client.sendall(b"q")
                assert read_exactly(client, 5) == b"quick"
            for client in many:
                client.close()
            balancer.at_rest()
        assert balancer.listener()["ended"]["out_of_descriptors"] == 0
