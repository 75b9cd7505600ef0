"""Connect, idle and session timeouts end what they should, and nothing else."""
import contextlib
import socket
import time

from support import (Alacrity, Server, ask, dial, free_port, read_all, serve_echo, serve_name,
                     web_over)


def test_connect_timeout_moves_on_to_the_next(black_hole):
    live, port = Server(serve_name, "live"), free_port()
    config = web_over([live], port, policy="first", timeouts={"connect": "300ms"})
    config["pools"]["app"]["backends"] = {"hole": black_hole, "live": live.text}
    with Alacrity(config) as balancer:
        start = time.monotonic()
        assert ask(port) == b"live\n"
        assert 0.25 < time.monotonic() - start < 3
        pool = balancer.at_rest()["pools"]["app"]
        assert pool["backends"]["hole"]["connect_timeouts_total"] == 1
        assert pool["backends"]["hole"]["connect_failures_total"] == 1
        assert pool["backends"]["hole"]["active"] == 0
        assert pool["retries_total"] == 1


def test_connect_timeout_without_another_backend(black_hole):
    port = free_port()
    config = web_over([], port, timeouts={"connect": "300ms"}, retries=3)
    config["pools"]["app"]["backends"] = {"hole": black_hole}
    with Alacrity(config) as balancer:
        start = time.monotonic()
        with dial(port) as client:
            assert client.recv(1) == b""
        assert 0.25 < time.monotonic() - start < 3
        assert balancer.at_rest()["listeners"]["web"]["ended"]["connect_failed"] == 1


def test_idle_timeout_counts_from_the_last_byte():
    server, port = Server(serve_echo, "echo"), free_port()
    config = {**web_over([server], port), "timeouts": {"idle": "600ms"}}
    with Alacrity(config) as balancer, dial(port) as client:
        start = time.monotonic()
        while time.monotonic() - start < 1.5:  # busy for longer than the timeout
            client.sendall(b"ping")
            assert client.recv(10) == b"ping"
            quiet = time.monotonic()
            time.sleep(0.1)
        assert read_all(client) == b""
        assert 0.5 < time.monotonic() - quiet < 3
        assert balancer.at_rest()["listeners"]["web"]["ended"]["idle_timeout"] == 1


def test_idle_timeout_of_the_listener_wins():
    server, slow, quick = Server(serve_echo, "echo"), free_port(), free_port()
    config = web_over([server], slow)
    config["listeners"]["quick"] = {"bind": f"127.0.0.1:{quick}", "pool": "app",
                                    "timeouts": {"idle": "300ms"}}
    with Alacrity(config), dial(slow) as patient, dial(quick) as hasty:
        assert read_all(hasty) == b""
        patient.sendall(b"still here")
        assert patient.recv(100) == b"still here"


def test_half_closed_and_silent_is_idle_too():
    def never_answers(connection, _server):
        read_all(connection)
        connection.settimeout(None)
        connection.recv(1)
        time.sleep(30)

    server, port = Server(never_answers, "mute"), free_port()
    config = {**web_over([server], port), "timeouts": {"idle": "500ms"}}
    with Alacrity(config) as balancer, dial(port) as client:
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
        start = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            assert read_all(client) == b""
        assert time.monotonic() - start < 5
        assert balancer.at_rest()["listeners"]["web"]["ended"]["idle_timeout"] == 1


def test_session_timeout_ends_a_busy_session():
    server, port = Server(serve_echo, "echo"), free_port()
    config = {**web_over([server], port), "timeouts": {"session": "800ms"}}
    with Alacrity(config) as balancer, dial(port) as client:
        start = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - start < 10:
                client.sendall(b"ping")
                if not client.recv(10):
                    break
                time.sleep(0.02)
        assert 0.7 < time.monotonic() - start < 4
        assert balancer.at_rest()["listeners"]["web"]["ended"]["session_timeout"] == 1
