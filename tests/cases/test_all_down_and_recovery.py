"""Checks take a failing backend out and back in; with none left, sessions are refused politely."""
import pytest

from support import (Alacrity, Server, ask, dial, eventually, free_port, refused_politely, serve_http,
                     serve_name, web_over)

QUICK = {"type": "tcp", "interval": "100ms", "timeout": "500ms", "rise": 2, "fall": 2}


def test_all_down_then_up_again():
    servers, port = [Server(serve_name, name) for name in "ab"], free_port()
    with Alacrity(web_over(servers, port, check=QUICK)) as balancer:
        for name in "ab":
            balancer.wait_state(name, "up")
        assert ask(port) in (b"a\n", b"b\n")

        for server in servers:
            server.stop()
        for name in "ab":
            balancer.wait_state(name, "down")
        for _ in range(20):
            assert refused_politely(port)
        stats = balancer.at_rest()
        assert stats["listeners"]["web"]["ended"]["no_backend"] == 20
        assert stats["pools"]["app"]["no_backend_total"] == 20
        assert stats["pools"]["app"]["backends_eligible"] == 0
        backend = stats["pools"]["app"]["backends"]["a"]
        assert backend["downs_total"] == 1 and backend["checks_failed_total"] >= 2
        assert backend["reason"]

        servers[1].start()
        balancer.wait_state("b", "up")
        for _ in range(20):
            assert ask(port) == b"b\n"
        servers[0].start()
        balancer.wait_state("a", "up")
        assert {ask(port) for _ in range(20)} == {b"a\n", b"b\n"}


def test_transitions_are_logged():
    server, port = Server(serve_name, "a"), free_port()
    with Alacrity(web_over([server], port, check=QUICK)) as balancer:
        balancer.wait_state("a", "up")
        server.stop()
        balancer.wait_line(r"app/a.*\bdown\b|\bdown\b.*app/a")
        seen = len(balancer.lines)
        server.start()
        balancer.wait_line(r"app/a.*\bup\b|\bup\b.*app/a", since=seen)


def test_sessions_open_on_a_backend_that_goes_down_go_on():
    """Down means no new sessions; on_down: keep is the default for those that are open."""
    def talk(connection, _server):
        while part := connection.recv(100):
            connection.sendall(part)

    server, port = Server(talk, "a"), free_port()
    with Alacrity(web_over([server], port, check=QUICK)) as balancer:
        with dial(port) as client:
            client.sendall(b"one")
            assert client.recv(10) == b"one"
            server.stop()
            balancer.wait_state("a", "down")
            client.sendall(b"two")
            assert client.recv(10) == b"two"


@pytest.mark.parametrize("status,state", [(200, "up"), (204, "up"), (404, "down"), (500, "down")])
def test_http_check_reads_the_status(status, state):
    server, port = Server(serve_http, "a"), free_port()
    server.status = status
    check = {**QUICK, "type": "http"}
    with Alacrity(web_over([server], port, check=check)) as balancer:
        balancer.wait_state("a", state)


def test_http_check_follows_the_server():
    server, port = Server(serve_http, "a"), free_port()
    with Alacrity(web_over([server], port, check={**QUICK, "type": "http"})) as balancer:
        balancer.wait_state("a", "up")
        server.status = 503
        balancer.wait_state("a", "down")
        assert "503" in balancer.backend("a")["reason"]
        server.status = 200
        balancer.wait_state("a", "up")


def test_a_check_that_hangs_times_out():
    """The server accepts and never answers: tcp says up, http says down, in time."""
    def hangs(connection, _server):
        connection.recv(1000)
        connection.recv(1)

    server, port = Server(hangs, "a"), free_port()
    config = web_over([server], port, check=QUICK)
    config["pools"]["strict"] = {"check": {**QUICK, "type": "http", "timeout": "200ms"},
                                 "backends": {"a": server.text}}
    with Alacrity(config) as balancer:
        balancer.wait_state("a", "up")
        balancer.wait_state("a", "down", pool="strict")
        fds = balancer.fds()
        before = balancer.backend("a", "strict")["checks_total"]
        eventually(lambda: balancer.backend("a", "strict")["checks_total"] > before + 5)
        assert balancer.fds() <= fds + 3, "checks leave descriptors behind"


def test_no_check_means_up():
    server, port = Server(serve_name, "a"), free_port()
    with Alacrity(web_over([server], port, check=False)) as balancer:
        assert balancer.state("a") in ("up", "starting")
        assert ask(port) == b"a\n"
