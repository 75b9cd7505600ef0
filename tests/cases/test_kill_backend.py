"""kill -9 of one of three backend processes under load: only what was open on it is lost."""
import collections

import pytest

from support import (PATIENCE, Alacrity, Load, ServerProcess, ask, dial, free_port, serve_name,
                     serve_named_echo, web_over)

THREADS = 8


@pytest.mark.bound(120)
def test_only_sessions_open_on_it_fail():
    talk = [ServerProcess(serve_named_echo, n) for n in "abc"]
    short = [ServerProcess(serve_name, n) for n in "abc"]
    web, bulk = free_port(), free_port()
    check = {"type": "tcp", "interval": "200ms", "timeout": "200ms", "rise": 1, "fall": 2}
    config = web_over(short, web, check=check)
    config["listeners"]["bulk"] = {"bind": f"127.0.0.1:{bulk}", "pool": "bulk"}
    config["pools"]["bulk"] = {"check": check,
                               "backends": {server.name: server.text for server in talk}}
    with Alacrity(config) as balancer:
        for name in "abc":
            balancer.wait_state(name, "up")
        long_ones = [dial(bulk) for _ in range(60)]
        of = [client.recv(10).decode().strip() for client in long_ones]
        assert collections.Counter(of).keys() == set("abc")

        with Load(lambda _: ask(web) in (b"a\n", b"b\n", b"c\n"), threads=THREADS,
                  per_second=300 / PATIENCE) as load:
            load.wait_done(100)
            talk[1].kill()
            short[1].kill()
            load.wait_done(300)
            balancer.wait_state("b", "down")
            failed_until_down = len(load.failures)
            load.wait_done(100)
        # A client has one session at a time: no more than THREADS can have been open on it.
        assert len(load.failures) <= THREADS, (len(load.failures), load.failures[:3])
        assert len(load.failures) == failed_until_down

        for client, name in zip(long_ones, of):
            if name == "b":
                try:
                    assert client.recv(10) == b""
                except ConnectionResetError:
                    pass
            else:
                client.sendall(b"still here")
                assert client.recv(100) == b"still here"
            client.close()
        stats = balancer.at_rest("bulk")
        assert stats["pools"]["bulk"]["backends"]["b"]["active"] == 0
        assert stats["listeners"]["web"]["sessions_total"] == load.done
