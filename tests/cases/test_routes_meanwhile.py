"""Sessions that wait for their route, while there are many of them, while the configuration changes, the
balancer drains, or the script runs away. Nothing of it harms another session."""
import socket

import pytest

from routed import Peeking, Routed, plain, script
from support import (SANITIZED, Load, dial, eventually, read_all, read_exactly, reset)

TSAN = pytest.mark.skipif(SANITIZED == "tsan", reason="nothing can be stopped under ThreadSanitizer")


COUNT = 200 if SANITIZED else 1000


def test_a_thousand_wait_and_then_all_go_on():
    with Peeking(options={"bytes": 5}, timeout="60s") as routed:
        clients = [dial(routed.port) for _ in range(COUNT)]
        for client in clients:
            client.sendall(b"hell")
        eventually(lambda: routed.web()["sessions_active"] == COUNT)
        assert plain(routed), "who has no route does not wait"
        for number, client in enumerate(clients):
            client.sendall(b"o %d" % number)
        for number, client in enumerate(clients):
            want = b"a\nhello %d" % number
            assert read_exactly(client, len(want)) == want
            client.close()
        web = routed.rest()
        assert web["ended"]["done"] == COUNT and web["routes_total"] == COUNT


def test_a_reload_while_routes_wait():
    """They are answered by the script of then, though its state is used for nothing else; then it
    goes."""
    with Routed(timeout="60s") as routed:
        clients = [dial(routed.port) for _ in range(50)]
        routed.waiting(50)
        for other in ("b", "a"):
            routed.balancer.put("mine.lua", script(f'ctx:peek(1) ctx:use("{other}")'))
            routed.balancer.reload()
        assert routed.answer(b"banana") == "a", "newcomers meet the new script"
        for number, client in enumerate(clients):
            client.sendall(b"abx"[number % 3:][:1])
            client.shutdown(socket.SHUT_WR)
            want = [b"a\na", b"b\nb", b""][number % 3]
            assert read_all(client) == want
            client.close()
        assert routed.rest()["ended"]["rejected"] == 16


def test_a_reload_without_the_listener_and_its_pool_while_routes_wait():
    with Routed(timeout="60s") as routed:
        client = dial(routed.port)
        routed.waiting(1)
        config = {"listeners": {"plain": routed.config["listeners"]["plain"]},
                  "pools": {"rest": routed.config["pools"]["rest"]}}
        routed.balancer.reload(config)
        client.sendall(b"apple")
        assert client.recv(100) == b"", "the pool it chose has nobody in service any more"
        client.close()
        eventually(lambda: not routed.sessions())


@pytest.mark.parametrize("pool", ["rest", None])
def test_the_end_of_a_plan_that_was_kept_for_one_route(pool):
    """Its last session is rejected, fails, is killed or goes away: everything of it is freed, but
    not while its script is still on the stack."""
    with Routed(timeout="60s", pool=pool) as routed:
        for end in ("reject", "error", "kill", "reset", "stop"):
            client = dial(routed.port)
            routed.waiting(1)
            routed.balancer.reload()
            if end == "kill":
                routed.balancer.admin("session", "kill", routed.sessions()[0]["id"], plain=True)
            elif end == "reset":
                reset(client)
            elif end != "stop" or SANITIZED != "tsan":
                client.sendall({"reject": b"x", "error": b"e", "stop": b"l"}[end])
            if end != "reset":
                client.shutdown(socket.SHUT_WR)
                read_all(client)
                client.close()
            eventually(lambda: not routed.sessions(), end)
        assert routed.answer(b"a") == "a"


def test_killed_while_it_waits():
    with Routed() as routed:
        with dial(routed.port) as client:
            client.sendall(b"s")
            routed.waiting(1)
            routed.balancer.admin("session", "kill", routed.sessions()[0]["id"], plain=True)
            assert client.recv(100) == b""
        assert routed.rest()["ended"]["killed"] == 1


def test_the_session_timeout_holds():
    with Routed(listener={"timeouts": {"session": "300ms", "route": "0"}}) as routed:
        with dial(routed.port) as client:
            client.sendall(b"s")
            assert client.recv(100) == b""
        assert routed.rest()["ended"]["session_timeout"] == 1


def test_waiting_sessions_count_against_limits():
    with Routed(listener={"max_sessions": 2}, timeout="60s") as routed:
        first, second = dial(routed.port), dial(routed.port)
        routed.waiting(2)
        with dial(routed.port) as client:
            assert client.recv(100) == b""
        assert routed.web()["ended"]["limit"] == 1
        first.close()
        second.close()


def test_a_drain_while_routes_wait():
    with Routed(timeouts={"drain": "500ms", "route": "60s"}) as routed:
        quick, slow = dial(routed.port), dial(routed.port)
        routed.waiting(2)
        routed.balancer.process.terminate()
        eventually(lambda: "drain" in "".join(routed.balancer.lines[-3:]))
        quick.sendall(b"apple")
        quick.shutdown(socket.SHUT_WR)
        assert read_all(quick) == b"a\napple", "it still goes on"
        assert slow.recv(100) == b""
        routed.balancer.ended()


# ---- who runs away ----

@TSAN
def test_a_runaway_ends_no_session_and_is_taken_out():
    """All that wait in its state go on to the default pool; other listeners notice nothing."""
    with Routed(lua={"budget": "20ms", "overruns": 3, "overrun_window": "1h"}, timeout="60s",
                workers=1) as routed:
        with Load(lambda _: plain(routed), threads=4, per_second=100) as load:
            for stop in range(3):
                waiting = [dial(routed.port) for _ in range(10)]
                routed.waiting(10)
                assert routed.answer(b"l") == "rest"
                for client in waiting:
                    client.sendall(b"apple")
                    assert read_exactly(client, 10) == b"rest\napple"
                    client.close()
                routed.balancer.wait_line("route of ./mine.lua: it was stopped")
                if stop < 2:
                    eventually(lambda: routed.answer(b"a") == "a", "it is made anew")
            routed.balancer.wait_line("stopped too often")
            assert routed.answer(b"a") == "rest"
            load.wait_done(20)
        assert load.failures == []
        web = routed.rest()
        assert web["route_overruns_total"] == 33 and web["route_out_total"] >= 1
        assert web["route_out_workers"] == 1
        assert web["ended"]["done"] == web["sessions_total"]
        route, = (s for s in routed.balancer.stats()["scripts"] if s["kind"] == "route")
        assert route["state"] == "out"
        routed.balancer.reload()
        assert routed.answer(b"a") == "a"
        assert routed.web()["route_out_workers"] == 0


@TSAN
def test_without_a_default_pool_a_runaway_ends_the_sessions_in_its_state():
    with Routed(lua={"budget": "20ms"}, timeout="60s", workers=1, pool=None) as routed:
        waiting = dial(routed.port)
        routed.waiting(1)
        assert routed.answer(b"l") is None
        assert waiting.recv(100) == b""
        waiting.close()
        assert routed.rest()["ended"]["route_failed"] == 2
