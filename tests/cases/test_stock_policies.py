"""The stock policies with rules of their own, seen from outside. Their rules to the last case are
tests/unit/test_stock_policies.c's; here is shown that facts reach them and sessions follow."""
import collections
import math
import socket
import time

import pytest

from support import (Alacrity, Server, ServerProcess, command, dial, eventually, free_port,
                     read_all, serve_name, serve_named_echo, short_folder, web_over)

CLIENTS = [f"127.1.0.{number}" for number in range(1, 101)]


def config_of(servers, port, policy, labels=None, workers=2, **options):
    config = {**web_over(servers, port, policy={"name": policy, "with": options}),
              "workers": workers}
    config["pools"]["app"]["backends"] = {
        s.name: {"address": s.text, **(labels or {}).get(s.name, {})} for s in servers}
    return config


def named(count, handler=serve_name):
    return [Server(handler, name) for name in "abcdefgh"[:count]]


def ask_from(client, port):
    with socket.socket() as connection:
        connection.settimeout(20)
        connection.bind((client, 0))
        connection.connect(("127.0.0.1", port))
        connection.sendall(b"q" * 32)
        return read_all(connection).decode().strip()


def who_serves(port, clients=CLIENTS):
    return {client: ask_from(client, port) for client in clients}


def answers(port, count=30):
    return collections.Counter(who_serves(port, CLIENTS[:count]).values())


def test_ring_hash_bounds_one_busy_client():
    """Plain hashing would send all of it to one backend."""
    servers = [ServerProcess(serve_named_echo, name) for name in "abcd"]
    port = free_port()
    with Alacrity(config_of(servers, port, "ring-hash", busy=0)):
        held, got = [], collections.Counter()
        for number in range(1, 41):
            held.append(dial(port))
            got[held[-1].recv(100)] += 1
            assert max(got.values()) <= math.ceil(1.25 * number / 4), (number, got)
        assert max(got.values()) == 13 and len(got) == 4
        for connection in held:
            connection.close()


def test_ring_hash_moves_little():
    servers, port = named(4), free_port()
    with Alacrity(config_of(servers, port, "ring-hash")) as balancer:
        before = who_serves(port)
        assert set(before.values()) == set("abcd")
        assert who_serves(port) == before
        balancer.admin("backend", "drain", "app/c")
        after = who_serves(port)
        assert all(after[c] == before[c] for c in CLIENTS if before[c] != "c")
        assert "c" not in after.values()


def test_peak_ewma_measures_and_gives_nobody_up():
    """On one machine all are as quick, but the first connect to one may have taken long."""
    servers, port, got = named(3), free_port(), collections.Counter()
    with Alacrity(config_of(servers, port, "peak-ewma", decay="500ms")) as balancer:
        eventually(lambda: got.update(answers(port)) or set(got) == set("abc"), got)
        pool = balancer.at_rest()["pools"]["app"]
        assert all(b["connect_ms"] > 0 for b in pool["backends"].values())
        assert pool["fallbacks_total"] == 0


def test_sticky_source_stays_where_it_is():
    servers, port = named(4), free_port()
    with Alacrity(config_of(servers, port, "sticky-source")) as balancer:
        before = who_serves(port)
        assert who_serves(port) == before and set(before.values()) == set("abcd")
        balancer.admin("backend", "drain", "app/b")
        without = who_serves(port)
        assert all(without[c] == before[c] for c in CLIENTS if before[c] != "b")
        balancer.admin("backend", "ready", "app/b")
        assert all(who_serves(port) == without for _ in range(3)), "nobody is sent back, anywhere"
        balancer.reload()
        assert who_serves(port) == without, "a reload forgets nobody"


def test_sticky_source_of_two_pools_is_two():
    """What one remembers of a client is no matter of the other."""
    servers, port, other = named(4), free_port(), free_port()
    config = config_of(servers, port, "sticky-source")
    config["listeners"]["other"] = {"bind": f"127.0.0.1:{other}", "pool": "other"}
    config["pools"]["other"] = config["pools"]["app"]
    with Alacrity(config) as balancer:
        before = who_serves(port)
        assert who_serves(other) == before
        balancer.admin("backend", "drain", "app/b")
        without = who_serves(port)
        balancer.admin("backend", "ready", "app/b")
        for _ in range(3):
            assert who_serves(other) == before and who_serves(port) == without


def test_sticky_source_expires():
    servers, port = named(2), free_port()
    config = config_of(servers, port, "sticky-source", expire="1s")
    with Alacrity(config) as balancer:
        home = who_serves(port)
        client = next(c for c in CLIENTS if home[c] == "a")
        balancer.admin("backend", "drain", "app/a")
        assert ask_from(client, port) == "b"
        balancer.admin("backend", "ready", "app/a")
        assert ask_from(client, port) == "b"
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < 1.1:  # it must really stay away: nothing to await
            time.sleep(0.1)
        assert ask_from(client, port) == "a"


def test_zone_aware_stays_spills_and_returns():
    servers, port = named(3), free_port()
    labels = {"a": {"zone": "east"}, "b": {"zone": "east", "weight": 3}, "c": {"zone": "west"}}
    config = {"zone": "east", **config_of(servers, port, "zone-aware", labels)}
    with Alacrity(config) as balancer:
        assert set(answers(port)) == {"a", "b"}, "nobody from afar"
        balancer.admin("backend", "maint", "app/b")  # a quarter is left where 70 percent are enough
        got = answers(port, 100)
        assert 15 <= got["a"] <= 60 and got["a"] + got["c"] == 100, got  # 36 in the mean
        balancer.admin("backend", "maint", "app/a")
        assert set(answers(port)) == {"c"}
        balancer.admin("backend", "ready", "app/a")
        balancer.admin("backend", "ready", "app/b")
        assert set(answers(port)) == {"a", "b"}


def test_primary_backup_returns_after_the_hold_and_not_before():
    """On both workers, whichever of them saw the primary fail; and a reload changes nothing."""
    servers, port = named(3), free_port()
    labels = {"c": {"tags": ["backup"]}}
    config = config_of(servers, port, "primary-backup", labels, hold="2s")
    with Alacrity(config) as balancer:
        assert set(answers(port)) == {"a", "b"}
        balancer.admin("backend", "drain", "app/a")
        assert set(answers(port)) == {"b"}
        balancer.admin("backend", "drain", "app/b")
        assert set(answers(port)) == {"c"}
        back = time.monotonic()
        balancer.admin("backend", "ready", "app/a")
        reloaded, asked = False, 0
        while ask_from(CLIENTS[asked % 100], port) == "c":
            assert time.monotonic() - back < 20
            asked += 1
            if not reloaded and asked == 5:
                balancer.reload()
                reloaded = True
        assert time.monotonic() - back >= 2 and reloaded
        eventually(lambda: set(answers(port)) == {"a"})  # the second in which it is due


def test_primary_backup_fails_over_when_a_primary_dies():
    primary, backup = ServerProcess(serve_name, "p"), Server(serve_name, "b")
    port = free_port()
    config = config_of([primary, backup], port, "primary-backup", {"b": {"tags": "backup"}})
    config["pools"]["app"]["check"] = {"type": "tcp", "interval": "100ms", "fall": 2, "rise": 2}
    with Alacrity(config) as balancer:
        balancer.wait_state("p", "up")
        assert set(answers(port)) == {"p"}
        primary.kill()
        assert set(answers(port)) == {"b"}, "also those who came before it was noticed"
        balancer.wait_state("p", "down")
        assert set(answers(port)) == {"b"}


def test_canary_by_client_grows_without_sending_anybody_back():
    servers, port = named(3), free_port()
    labels = {"c": {"tags": ["canary", "other"]}}

    def at(percent):
        return config_of(servers, port, "canary", labels, by="client", percent=percent)

    with Alacrity(at(0)) as balancer:
        assert "c" not in who_serves(port).values()
        before = set()
        for percent in (10, 40, 100):
            balancer.reload(at(percent))
            chosen = {client for client, name in who_serves(port).items() if name == "c"}
            assert before <= chosen
            assert chosen == {client for client, name in who_serves(port).items() if name == "c"}
            assert abs(len(chosen) - percent) <= 6 * math.sqrt(percent * (100 - percent) / 100)
            before = chosen
        balancer.admin("backend", "drain", "app/c")
        assert set(answers(port)) == {"a", "b"}


def test_canary_by_session():
    servers, port = named(2), free_port()
    config = config_of(servers, port, "canary", {"b": {"tags": "canary"}}, percent=30)
    with Alacrity(config):
        got = collections.Counter(name for _ in range(4) for name in who_serves(port).values())
        assert abs(got["b"] - 120) <= 6 * math.sqrt(400 * 0.3 * 0.7), got


BAD = [
    ("ring-hash", "factor: 0.9", "option 'factor' of script ring-hash is 0.9; write at least 1"),
    ("peak-ewma", "decay: fast", "option 'decay' of script peak-ewma must be a duration"),
    ("sticky-source", "expire: 10ms", "option 'expire' of script sticky-source is 10; write at "),
    ("zone-aware", "enough: 0", "option 'enough' of script zone-aware is 0; write at least 1"),
    ("primary-backup", "holt: 3s", "did you mean 'hold'?"),
    ("canary", "percent: 101", "option 'percent' of script canary is 101; write at most 100"),
]


@pytest.mark.parametrize("policy,option,said", BAD, ids=[bad[0] for bad in BAD])
def test_bad_options_are_refused_where_they_stand(policy, option, said):
    file = short_folder() / "bad.yaml"
    file.write_text("zone: here\n"
                    "pools:\n"
                    "  app:\n"
                    "    policy:\n"
                    f"      name: {policy}\n"
                    "      with:\n"
                    f"        {option}\n"
                    "    backends: {a: 127.0.0.1:1}\n")
    done = command("check", "-f", file)
    assert done.returncode == 1
    assert "bad.yaml:7:" in done.stderr and said in done.stderr, done.stderr


def test_zone_aware_without_a_zone_is_refused():
    file = short_folder() / "bad.yaml"
    file.write_text("pools: {app: {policy: zone-aware, backends: {a: 127.0.0.1:1}}}\n")
    done = command("check", "-f", file)
    assert done.returncode == 1
    assert "zone-aware needs to know where it stands: write zone: NAME" in done.stderr
    assert "bad.yaml:1:23" in done.stderr
