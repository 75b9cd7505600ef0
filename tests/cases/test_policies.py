"""The stock policies, seen from outside: who gets how many sessions."""
import collections
import socket

import pytest

from support import (Alacrity, Server, ServerProcess, ask, backends, dial, eventually, free_port,
                     serve_name, serve_named_echo, web_over)


def weighted(servers, *weights):
    return {s.name: {"address": s.text, "weight": w} for s, w in zip(servers, weights)}


def config_of(servers, port, policy, weights=None, workers=1):
    config = {**web_over(servers, port, policy=policy), "workers": workers}
    if weights:
        config["pools"]["app"]["backends"] = weighted(servers, *weights)
    return config


def names(count):
    return "abcdefgh"[:count]


class Held:
    """Sessions that stay open; each knows its backend by the greeting."""

    def __init__(self):
        self.open = []

    def take(self, port, count):
        for _ in range(count):
            connection = dial(port)
            self.open.append((connection, connection.recv(100).decode().strip()))

    def shares(self):
        return dict(collections.Counter(name for _, name in self.open))

    def release(self, name=None):
        for connection, of in list(self.open):
            if name in (None, of):
                connection.close()
                self.open.remove((connection, of))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()


def test_round_robin_shares_are_exact():
    servers, port = [Server(serve_name, n) for n in names(4)], free_port()
    with Alacrity(config_of(servers, port, "round-robin", (1, 2, 3, 4))) as balancer:
        got = collections.Counter(ask(port).decode().strip() for _ in range(1000))
        assert got == {"a": 100, "b": 200, "c": 300, "d": 400}
        pool = balancer.at_rest()["pools"]["app"]
        assert {n: b["sessions_total"] for n, b in pool["backends"].items()} == got
        assert pool["picks_total"] == 1000 and pool["fallbacks_total"] == 0


def test_round_robin_is_smooth():
    """The heavy backend's turns are spread, not in a row."""
    servers, port = [Server(serve_name, n) for n in names(3)], free_port()
    with Alacrity(config_of(servers, port, "round-robin", (5, 1, 1))):
        turns = "".join(ask(port).decode().strip() for _ in range(70))
        for at in range(0, 70, 7):
            assert collections.Counter(turns[at:at + 7]) == {"a": 5, "b": 1, "c": 1}
        assert "aaaaa" not in turns


@pytest.mark.bound(120)
def test_round_robin_is_exact_on_each_of_two_workers():
    """A session's number says which worker serves it, and the how-manieth it is there."""
    servers, port = [ServerProcess(serve_named_echo, n) for n in names(4)], free_port()
    config = config_of(servers, port, "round-robin", (1, 2, 3, 4), workers=2)
    with Alacrity(config) as balancer, Held() as held:
        held.take(port, 200)
        sessions = listed(balancer.admin("session", "list"))
        assert len(sessions) == 200
        turns = collections.defaultdict(dict)
        for session in sessions:
            number = int(session["id"])
            turns[number >> 48][number] = session["backend"].rpartition("/")[2]
        assert len(turns) == 2, "both workers took some"
        for of_worker in turns.values():
            order = [of_worker[number] for number in sorted(of_worker)]
            for at in range(0, len(order) - 9, 10):
                assert collections.Counter(order[at:at + 10]) == \
                    {"a": 1, "b": 2, "c": 3, "d": 4}


def listed(answer):
    return answer if isinstance(answer, list) else answer["sessions"]


def test_weight_zero_gets_nothing():
    servers, port = [Server(serve_name, n) for n in names(2)], free_port()
    for policy in ("round-robin", "least-conn", "random", "p2c", "source-hash", "first", "ring-hash",
                   "peak-ewma", "sticky-source", "primary-backup", "canary"):
        with Alacrity(config_of(servers, port, policy, (0, 1))):
            assert {ask(port) for _ in range(20)} == {b"b\n"}, policy


def test_least_conn_evens_out():
    servers, port = [ServerProcess(serve_named_echo, n) for n in names(4)], free_port()
    with Alacrity(config_of(servers, port, "least-conn")) as balancer, Held() as held:
        held.take(port, 40)
        assert held.shares() == {n: 10 for n in names(4)}
        held.release("b")
        eventually(lambda: balancer.backend("b")["active"] == 0)
        held.take(port, 10)
        assert held.shares() == {n: 10 for n in names(4)}


def test_least_conn_heeds_weights():
    servers, port = [ServerProcess(serve_named_echo, n) for n in names(2)], free_port()
    with Alacrity(config_of(servers, port, "least-conn", (1, 3))), Held() as held:
        held.take(port, 40)
        assert held.shares() == {"a": 10, "b": 30}


def test_random_is_roughly_even():
    servers, port = [Server(serve_name, n) for n in names(2)], free_port()
    with Alacrity(config_of(servers, port, "random")):
        got = collections.Counter(ask(port) for _ in range(1000))
        assert 400 < got[b"a\n"] < 600, got  # six standard deviations


def test_random_heeds_weights():
    servers, port = [Server(serve_name, n) for n in names(2)], free_port()
    with Alacrity(config_of(servers, port, "random", (1, 4))):
        got = collections.Counter(ask(port) for _ in range(1000))
        assert 120 < got[b"a\n"] < 280, got


def test_workers_do_not_draw_the_same_numbers():
    """Two starts give two sequences."""
    servers, port = [Server(serve_name, n) for n in names(8)], free_port()
    runs = []
    for _ in range(2):
        with Alacrity(config_of(servers, port, "random")):
            runs.append([ask(port) for _ in range(40)])
    assert runs[0] != runs[1]


def test_p2c_stays_near_even():
    servers, port = [ServerProcess(serve_named_echo, n) for n in names(4)], free_port()
    with Alacrity(config_of(servers, port, "p2c")), Held() as held:
        held.take(port, 200)
        shares = held.shares()
        assert max(shares.values()) - min(shares.values()) <= 12, shares


CLIENTS = [f"127.0.{i // 100}.{1 + i % 100}" for i in range(200)]


def who_serves(port):
    served = {}
    for client in CLIENTS:
        with socket.socket() as connection:
            connection.settimeout(20)
            connection.bind((client, 0))
            connection.connect(("127.0.0.1", port))
            connection.sendall(b"q" * 32)
            served[client] = connection.recv(100).decode().strip()
    return served


def test_source_hash_is_stable_and_moves_little():
    servers, port = [Server(serve_name, n) for n in names(4)], free_port()
    with Alacrity(config_of(servers, port, "source-hash", workers=2)) as balancer:
        before = who_serves(port)
        assert who_serves(port) == before, "the same client goes to the same backend"
        spread = collections.Counter(before.values())
        assert set(spread) == set(names(4)) and min(spread.values()) >= 20, spread

        balancer.reload()
        assert who_serves(port) == before, "a reload changes nothing"

        balancer.admin("backend", "drain", "app/b")
        without = who_serves(port)
        assert "b" not in without.values()
        moved = [c for c in CLIENTS if before[c] != "b" and without[c] != before[c]]
        assert len(moved) <= len(CLIENTS) // 10, f"{len(moved)} of {len(CLIENTS)} moved needlessly"

        balancer.admin("backend", "ready", "app/b")
        assert who_serves(port) == before, "all return"


def test_source_hash_is_the_same_on_another_node():
    """Hashing is by name, so that nodes agree whatever the order in the file."""
    servers, port = [Server(serve_name, n) for n in names(4)], free_port()
    with Alacrity(config_of(servers, port, "source-hash")):
        one = who_serves(port)
    with Alacrity(config_of(servers, port, "source-hash")):
        assert who_serves(port) == one


def test_first_fails_over_in_order():
    servers, port = [Server(serve_name, n) for n in names(3)], free_port()
    with Alacrity(config_of(servers, port, "first")) as balancer:
        assert {ask(port) for _ in range(10)} == {b"a\n"}
        balancer.admin("backend", "drain", "app/a")
        assert {ask(port) for _ in range(10)} == {b"b\n"}
        balancer.admin("backend", "maint", "app/b")
        assert {ask(port) for _ in range(10)} == {b"c\n"}
        balancer.admin("backend", "ready", "app/a")
        assert {ask(port) for _ in range(10)} == {b"a\n"}


def test_backend_cap_is_respected_by_every_policy():
    """max_sessions of a backend: the surplus goes to the other one."""
    servers, port = [ServerProcess(serve_named_echo, n) for n in names(2)], free_port()
    for policy in ("round-robin", "least-conn", "random", "p2c", "first", "ring-hash", "peak-ewma",
                   "sticky-source", "primary-backup", "canary"):
        config = config_of(servers, port, policy)
        config["pools"]["app"]["backends"] = {
            "a": {"address": servers[0].text, "max_sessions": 3}, **backends(servers[1:])}
        with Alacrity(config), Held() as held:
            held.take(port, 20)
            assert held.shares().get("a", 0) <= 3, policy
            assert sum(held.shares().values()) == 20


def test_a_policy_of_the_users_own():
    servers, port = [Server(serve_name, n) for n in names(3)], free_port()
    config = config_of(servers, port, {"script": "./last.lua"})
    with Alacrity(config, scripts={"last.lua": """
        local Last = {}
        Last.__index = Last
        function Last:pick(ctx, pool) return pool[#pool] end
        return { api = 1, kind = "policy", name = "last", options = {},
                 new = function() return setmetatable({}, Last) end }
        """}):
        assert {ask(port) for _ in range(10)} == {b"c\n"}
