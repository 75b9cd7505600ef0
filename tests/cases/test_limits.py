"""Overload is refused politely: an orderly end at once, counted, and room is used again."""
import contextlib

from support import (Alacrity, Load, ServerProcess, dial, eventually, free_port, refused_politely,
                     serve_named_echo, web_over)


def held(stack, port, count):
    for _ in range(count):
        client = stack.enter_context(dial(port))
        assert client.recv(10) == b"a\n"


def test_listener_limit():
    server, port, free = ServerProcess(serve_named_echo, "a"), free_port(), free_port()
    config = web_over([server], port)
    config["listeners"]["web"]["max_sessions"] = 5
    config["listeners"]["free"] = {"bind": f"127.0.0.1:{free}", "pool": "app"}
    with Alacrity(config) as balancer:
        with contextlib.ExitStack() as stack:
            held(stack, port, 5)
            for _ in range(10):
                assert refused_politely(port)
            held(stack, free, 3)  # another listener's room is its own
            web = balancer.listener()
            assert web["sessions_active"] == 5 and web["sessions_total"] == 5
            assert web["ended"]["limit"] == 10
        eventually(lambda: balancer.listener()["sessions_active"] == 0)
        with contextlib.ExitStack() as stack:
            held(stack, port, 5)
            assert refused_politely(port)


def test_global_limit():
    server, port, second = ServerProcess(serve_named_echo, "a"), free_port(), free_port()
    config = {**web_over([server], port), "limits": {"sessions": 6}}
    config["listeners"]["more"] = {"bind": f"127.0.0.1:{second}", "pool": "app"}
    with Alacrity(config) as balancer:
        with contextlib.ExitStack() as stack:
            held(stack, port, 3)
            held(stack, second, 3)
            assert refused_politely(port) and refused_politely(second)
            stats = balancer.stats()["listeners"]
            assert stats["web"]["ended"]["limit"] == stats["more"]["ended"]["limit"] == 1
        eventually(lambda: balancer.listener()["sessions_active"] == 0)
        with contextlib.ExitStack() as stack:
            held(stack, second, 6)


def test_the_listener_limit_is_exact_while_many_come_at_once():
    server, port = ServerProcess(serve_named_echo, "a"), free_port()
    config = web_over([server], port)
    config["listeners"]["web"]["max_sessions"] = 10
    with Alacrity(config) as balancer:
        most = [0]

        def come_and_go(_):
            with dial(port) as client:
                client.recv(10)
        with Load(come_and_go, threads=30, per_second=600) as load:
            for _ in range(30):
                most[0] = max(most[0], balancer.listener()["sessions_active"])
            load.wait_done(100)
        assert most[0] <= 10
        web = balancer.at_rest()["listeners"]["web"]
        assert web["sessions_total"] + web["ended"]["limit"] == load.done


def test_a_reload_may_change_the_limit():
    server, port = ServerProcess(serve_named_echo, "a"), free_port()
    config = web_over([server], port)
    config["listeners"]["web"]["max_sessions"] = 2
    with Alacrity(config) as balancer, contextlib.ExitStack() as stack:
        held(stack, port, 2)
        assert refused_politely(port)
        config["listeners"]["web"]["max_sessions"] = 4
        balancer.reload(config)
        held(stack, port, 2)
        assert refused_politely(port)
