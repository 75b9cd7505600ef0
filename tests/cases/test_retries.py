"""A connect that fails before any byte was sent is tried elsewhere; the client does not notice."""
from support import (QUESTION, Alacrity, Server, ask, backends, dead_address, dial, free_port,
                     refused_politely, serve_name, web_over)

SESSIONS = 200


def test_dead_backends_and_one_that_lives():
    live, port = Server(serve_name, "live"), free_port()
    config = {**web_over([], port, retries=3, suspect_after=0), "workers": 1}
    config["pools"]["app"]["backends"] = {"dead1": dead_address(), **backends([live]),
                                          "dead2": dead_address(), "dead3": dead_address()}
    with Alacrity(config) as balancer:
        for _ in range(SESSIONS):
            assert ask(port) == b"live\n"
        stats = balancer.at_rest()
        web, pool = stats["listeners"]["web"], stats["pools"]["app"]
        assert web["sessions_total"] == web["ended"]["done"] == SESSIONS
        assert pool["sessions_total"] == SESSIONS
        assert pool["backends"]["live"]["sessions_total"] == SESSIONS
        assert pool["backends"]["live"]["connect_failures_total"] == 0
        dead = [b for name, b in pool["backends"].items() if name != "live"]
        failures = sum(b["connect_failures_total"] for b in dead)
        assert failures == pool["retries_total"] > 0
        assert all(b["sessions_total"] == 0 and b["active"] == 0 for b in dead)
        assert pool["picks_total"] == SESSIONS + failures


def test_bytes_sent_early_survive_the_retry():
    """The client speaks before a backend is found; what it said reaches the one that lives."""
    live, port = Server(serve_name, "live"), free_port()
    config = web_over([], port, policy="first", suspect_after=0)
    config["pools"]["app"]["backends"] = {"dead": dead_address(), **backends([live])}
    with Alacrity(config) as balancer:
        for _ in range(50):
            assert ask(port) == b"live\n"
        assert balancer.at_rest()["listeners"]["web"]["bytes_in_total"] == 50 * len(QUESTION)


def test_retries_are_bounded():
    """retries: 1 means two attempts, although the third backend would have answered."""
    live, port = Server(serve_name, "live"), free_port()
    config = web_over([], port, policy="first", retries=1, suspect_after=0)
    config["pools"]["app"]["backends"] = {"dead1": dead_address(), "dead2": dead_address(),
                                          **backends([live])}
    with Alacrity(config) as balancer:
        assert refused_politely(port)
        stats = balancer.at_rest()
        assert stats["listeners"]["web"]["ended"]["connect_failed"] == 1
        assert stats["pools"]["app"]["retries_total"] == 1
        assert live.served == 0


def test_no_retry():
    live, port = Server(serve_name, "live"), free_port()
    config = web_over([], port, policy="first", retries=0, suspect_after=0)
    config["pools"]["app"]["backends"] = {"dead": dead_address(), **backends([live])}
    with Alacrity(config) as balancer:
        assert refused_politely(port)
        assert balancer.at_rest()["pools"]["app"]["retries_total"] == 0


def test_a_session_asks_no_backend_twice():
    port = free_port()
    config = web_over([], port, retries=15, suspect_after=0)
    config["pools"]["app"]["backends"] = {f"dead{i}": dead_address() for i in range(3)}
    with Alacrity(config) as balancer:
        assert refused_politely(port)
        pool = balancer.at_rest()["pools"]["app"]
        assert [b["connect_failures_total"] for b in pool["backends"].values()] == [1, 1, 1]


def test_a_missing_unix_socket_is_a_failed_connect(folder):
    live, port = Server(serve_name, "live"), free_port()
    config = web_over([], port, policy="first", suspect_after=0)
    config["pools"]["app"]["backends"] = {"dead": f"unix:{folder}/nobody.sock", **backends([live])}
    with Alacrity(config) as balancer:
        assert ask(port) == b"live\n"
        assert balancer.at_rest()["pools"]["app"]["retries_total"] == 1


def test_silent_clients_are_dialled_too():
    """A client of a protocol in which the server speaks first."""
    def greets(connection, _server):
        connection.sendall(b"220 hello\r\n")

    live, port = Server(greets, "live"), free_port()
    with Alacrity(web_over([live], port)), dial(port) as client:
        assert client.recv(100) == b"220 hello\r\n"
