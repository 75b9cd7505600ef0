"""TERM: nobody new, those inside finish, a limit, and a second TERM that does not wait."""
import signal
import threading
import time

import pytest

from support import (Alacrity, Server, dial, eventually, free_port, random_bytes, read_all,
                     read_exactly, serve_name, serve_named_echo, web_over)


def not_served(port):
    """A newcomer learns at once that it must go elsewhere."""
    try:
        with dial(port, timeout=2) as client:
            return client.recv(10) == b""
    except (ConnectionRefusedError, ConnectionResetError):
        return True
    except TimeoutError:
        return False  # it came just before, and is served


def drain(balancer):
    seen = len(balancer.lines)
    balancer.process.send_signal(signal.SIGTERM)
    balancer.wait_line("drain", since=seen)


def test_idle_stops_at_once():
    with Alacrity(web_over([Server(serve_name, "a")], free_port())) as balancer:
        start = time.monotonic()
        balancer.stop()
        assert time.monotonic() - start < 5


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
def test_transfers_finish(by):
    data = random_bytes(8 << 20, 8)
    go_on = threading.Event()

    def halfway(connection, _server):
        read_exactly(connection, 1)
        connection.sendall(data[:1000])
        go_on.wait(20)
        connection.sendall(data[1000:])

    server, port = Server(halfway, "a"), free_port()
    with Alacrity(web_over([server], port)) as balancer:
        with dial(port) as client:
            client.sendall(b"x")
            start = read_exactly(client, 1000)
            balancer.process.send_signal(by)
            balancer.wait_line("drain")
            eventually(lambda: not_served(port), "newcomers are not served")
            assert balancer.running()
            go_on.set()
            assert start + read_all(client) == data
        balancer.ended(code=0)


def test_newcomers_are_told_at_once():
    """They must not wait in a queue that nobody empties until the limit cuts them."""
    server, port = Server(serve_named_echo, "a"), free_port()
    with Alacrity(web_over([server], port)) as balancer, dial(port) as stays:
        stays.recv(10)
        drain(balancer)
        # Control says so first; each worker serves until it has heard it.
        eventually(lambda: all(not_served(port) for _ in range(8)))
        for _ in range(5):
            start = time.monotonic()
            assert not_served(port)
            assert time.monotonic() - start < 1.5
        stays.sendall(b"still here")
        assert stays.recv(100) == b"still here"


def test_healthz_says_so():
    server, port = Server(serve_named_echo, "a"), free_port()
    with Alacrity(web_over([server], port)) as balancer, dial(port) as stays:
        stays.recv(10)
        assert balancer.get("/healthz")[0] == 200
        drain(balancer)
        eventually(lambda: balancer.get("/healthz")[0] == 503)
        assert balancer.get("/livez")[0] == 200
        assert balancer.stats()["draining"] is True


def test_the_limit_cuts_what_does_not_end():
    server, port = Server(serve_named_echo, "a"), free_port()
    config = {**web_over([server], port), "timeouts": {"drain": "700ms"}}
    with Alacrity(config) as balancer, dial(port) as stays:
        stays.recv(10)
        start = time.monotonic()
        drain(balancer)
        stays.sendall(b"x")
        assert stays.recv(10) == b"x"
        with pytest.raises(ConnectionResetError):  # cut, and it shows
            stays.recv(10)
        balancer.ended(code=0)
        assert 0.6 < time.monotonic() - start < 6


def test_a_second_signal_stops_at_once():
    server, port = Server(serve_named_echo, "a"), free_port()
    with Alacrity(web_over([server], port)) as balancer, dial(port) as stays:
        stays.recv(10)
        drain(balancer)
        assert balancer.running()
        start = time.monotonic()
        balancer.process.send_signal(signal.SIGTERM)
        balancer.ended(code=0)
        assert time.monotonic() - start < 5


def test_stopping_while_a_reload_runs():
    server, port = Server(serve_name, "a"), free_port()
    with Alacrity(web_over([server], port)) as balancer:
        balancer.process.send_signal(signal.SIGHUP)
        balancer.process.send_signal(signal.SIGTERM)
        balancer.ended(code=0)


def test_the_admin_socket_is_gone_afterwards():
    with Alacrity(web_over([Server(serve_name, "a")], free_port())) as balancer:
        assert balancer.socket.exists()
        balancer.stop()
        assert not balancer.socket.exists()
