"""A reload changes everything or nothing, and the traffic does not notice."""
import signal
import socket
import threading

import pytest

from support import (FULL, PATIENCE, Alacrity, Load, Server, ServerProcess, ask, backends, dial,
                     eventually, free_port, random_bytes, read_exactly, serve_echo, serve_name,
                     serve_named_echo, web_over)

RELOADS = 50
SECONDS = 30 if FULL else 6
LONG = 100 if FULL else 40


class Transfer(threading.Thread):
    """An echo session that lasts until it is told to end, and checks every byte."""

    def __init__(self, port, number, stop):
        super().__init__(daemon=True)
        self.port, self.stop, self.error = port, stop, None
        self.block, self.total = random_bytes(4096, number), 0
        self.pause = 0.25

    def run(self):
        try:
            with dial(self.port) as client:
                while True:
                    client.sendall(self.block)
                    assert read_exactly(client, len(self.block)) == self.block, "corrupted"
                    self.total += len(self.block)
                    if self.stop.wait(self.pause):
                        return
        except (OSError, EOFError, AssertionError) as error:
            self.error = error


@pytest.mark.heavy
@pytest.mark.bound(180 if FULL else 90)
def test_fifty_reloads_under_load():
    """200 connections a second and long transfers: 0 failed, 0 corrupted, totals exact."""
    quick = [ServerProcess(serve_name, name) for name in "abc"]
    slow = ServerProcess(serve_echo, "echo")
    web, bulk = free_port(), free_port()
    config = web_over(quick, web, check={"type": "tcp", "interval": "500ms"})
    config["listeners"]["bulk"] = {"bind": f"127.0.0.1:{bulk}", "pool": "bulk"}
    config["pools"]["bulk"] = {"backends": backends([slow])}
    answers = {b"a\n", b"b\n", b"c\n"}

    with Alacrity(config) as balancer:
        stop = threading.Event()
        transfers = [Transfer(bulk, i, stop) for i in range(LONG)]
        for transfer in transfers:
            transfer.start()
        with Load(lambda _: ask(web) in answers, threads=16, per_second=200 / PATIENCE) as load:
            for number in range(RELOADS):
                config["workers"] = 1 + number % 3
                config["pools"]["app"]["policy"] = ("round-robin", "least-conn", "random")[number % 3]
                balancer.reload(config)
                load.wait_done(200 * SECONDS // RELOADS // PATIENCE)
            load.stop()
            stop.set()
            for transfer in transfers:
                transfer.join(30)
            failed = [t.error for t in transfers if t.error]
            assert not load.failures, (len(load.failures), load.done, load.failures[:3])
            assert not failed, (len(failed), failed[:3])
        balancer.at_rest("bulk")
        stats = balancer.at_rest()
        web_totals, bulk_totals = stats["listeners"]["web"], stats["listeners"]["bulk"]
        assert web_totals["sessions_total"] == web_totals["ended"]["done"] == load.done
        assert web_totals["bytes_in_total"] == 32 * load.done
        assert web_totals["bytes_out_total"] == 2 * load.done
        assert sum(b["sessions_total"] for b in stats["pools"]["app"]["backends"].values()) \
            == load.done
        assert bulk_totals["sessions_total"] == LONG
        assert bulk_totals["bytes_in_total"] == bulk_totals["bytes_out_total"] \
            == sum(t.total for t in transfers)
        assert stats["configuration"] == RELOADS + 1


def test_a_broken_file_is_refused_and_changes_nothing():
    server, port = Server(serve_name, "a"), free_port()
    config = web_over([server], port)
    with Alacrity(config) as balancer:
        before = balancer.stats()
        good = balancer.file.read_bytes()
        for broken, words in [
            (b"", ["empty"]),
            (b"listeners: [", [":1:"]),
            (good.replace(b"workers:", b"wokers:"), ["wokers", "workers"]),
            (good.replace(b"pool: app", b"pool: nowhere"), ["nowhere"]),
            (good.replace(server.text.encode(), b"127.0.0.1:99999"), ["99999"]),
        ]:
            balancer.write(broken)
            told = balancer.reload(ok=False)
            assert "alacrity.yaml:" in told, told
            for word in words:
                assert word in told, told
            assert ask(port) == b"a\n"
        after = balancer.stats()
        assert after["configuration"] == before["configuration"]
        assert after["reloads_failed_total"] == before["reloads_failed_total"] + 5
        balancer.file.unlink()
        assert "alacrity.yaml" in balancer.reload(ok=False)
        balancer.reload(config)
        assert balancer.stats()["configuration"] > before["configuration"]


def test_a_broken_script_is_refused_and_the_old_one_goes_on():
    good = """
        local P = {}
        P.__index = P
        function P:pick(ctx, pool) return pool[1] end
        return { api = 1, kind = "policy", name = "mine", options = {},
                 new = function() return setmetatable({}, P) end }
        """
    servers, port = [Server(serve_name, n) for n in "ab"], free_port()
    config = web_over(servers, port, policy={"script": "./mine.lua"})
    with Alacrity(config, scripts={"mine.lua": good}) as balancer:
        assert ask(port) == b"a\n"
        for broken, word in [
            ("return {", "mine.lua:1"),
            ("x = = 1", "mine.lua:1"),
            ("return 42", "mine.lua"),
            ("", "mine.lua"),
            (good.replace('"policy"', '"check"'), "policy"),
            (good.replace("api = 1", "api = 99"), "api"),
            (good.replace("return setmetatable({}, P)", 'error("no")'), "no"),
            (good.replace("return pool[1]", 'error("trial")'), "trial"),
            (good.replace("setmetatable({}, P)", "{}"), "pick"),
            ("\x1bLJ\x02", "mine.lua"),
        ]:
            balancer.put("mine.lua", broken)
            assert word in balancer.reload(ok=False), word
            assert ask(port) == b"a\n"
        balancer.put("mine.lua", good.replace("pool[1]", "pool[2]"))
        balancer.reload()
        assert ask(port) == b"b\n", "a repaired script is live"


def test_hangup_reloads_too():
    a, b, port = Server(serve_name, "a"), Server(serve_name, "b"), free_port()
    with Alacrity(web_over([a], port)) as balancer:
        balancer.write(web_over([b], port))
        seen = len(balancer.lines)
        balancer.process.send_signal(signal.SIGHUP)
        balancer.wait_line('"reload"', since=seen)
        assert ask(port) == b"b\n"
        balancer.write(b"nonsense")
        balancer.process.send_signal(signal.SIGHUP)
        balancer.wait_line("refused|must be a map", since=seen)
        assert ask(port) == b"b\n"


@pytest.mark.bound(120)
def test_the_number_of_workers_changes_under_load():
    servers, port = [ServerProcess(serve_name, n) for n in "ab"], free_port()
    config = web_over(servers, port)
    with Alacrity(config) as balancer:
        with Load(lambda _: ask(port) in (b"a\n", b"b\n"), per_second=200 / PATIENCE) as load:
            for workers in (4, 1, 3, 2, 8, 1):
                balancer.reload({**config, "workers": workers})
                load.wait_done(100)
        assert not load.failures, (len(load.failures), load.failures[:3])
        assert balancer.at_rest()["listeners"]["web"]["sessions_total"] == load.done


def test_listeners_come_and_go():
    server, first, second = Server(serve_named_echo, "a"), free_port(), free_port()
    one = web_over([server], first)
    two = {**one, "listeners": {**one["listeners"],
                                "more": {"bind": f"127.0.0.1:{second}", "pool": "app"}}}
    with Alacrity(one) as balancer:
        with pytest.raises(ConnectionRefusedError):
            dial(second)
        balancer.reload(two)
        with dial(second) as stays:
            assert stays.recv(10) == b"a\n"
            balancer.reload(one)

            def is_refused():
                try:
                    dial(second).close()
                except ConnectionRefusedError:
                    return True
            eventually(is_refused, "the removed listener refuses")
            stays.sendall(b"still here")
            assert stays.recv(100) == b"still here", "its sessions go on"
            assert "more" not in balancer.stats()["listeners"]
        with dial(first) as client:
            assert client.recv(10) == b"a\n"


@pytest.mark.bound(120)
@pytest.mark.parametrize("one, all_of_them", [("127.0.0.1", "0.0.0.0"), ("127.0.0.1", "*"),
                                              ("[::1]", "[::]")])
def test_a_bind_moves_to_all_addresses_and_back(one, all_of_them):
    """The old and the new sockets are in each other's way, and nobody is refused meanwhile."""
    server, port = ServerProcess(serve_name, "a"), free_port()
    config = web_over([server], port)
    host = one.strip("[]")
    config["listeners"]["web"]["bind"] = f"{one}:{port}"
    with Alacrity(config) as balancer:
        with Load(lambda _: ask((host, port)) == b"a\n", per_second=300 / PATIENCE) as load:
            for turn in range(16):
                bind = all_of_them if turn % 2 == 0 else one
                config["listeners"]["web"]["bind"] = f"{bind}:{port}"
                config["workers"] = 1 + turn // 2 % 3
                balancer.reload(config)
                load.wait_done(10)
        assert not load.failures, (len(load.failures), load.done, load.failures[:3])
        assert balancer.at_rest()["listeners"]["web"]["sessions_total"] == load.done


OTHER = "127.0.0.2"  # this machine, too: 0.0.0.0 covers it


def test_all_addresses_are_bound_only_while_they_are_named():
    server, port = Server(serve_name, "a"), free_port()
    config = web_over([server], port)
    with Alacrity(config) as balancer:
        for _ in range(3):
            config["listeners"]["web"]["bind"] = f"0.0.0.0:{port}"
            balancer.reload(config)
            assert ask((OTHER, port)) == ask(port) == b"a\n"
            config["listeners"]["web"]["bind"] = f"127.0.0.1:{port}"
            balancer.reload(config)
            assert ask(port) == b"a\n"

            def is_refused():
                try:
                    ask((OTHER, port))
                except (ConnectionRefusedError, ConnectionResetError):
                    return True
            eventually(is_refused, "only 127.0.0.1 is left")
        config["listeners"]["web"]["bind"] = f"0.0.0.0:{port}"
        balancer.reload(config)
        before = balancer.fds()
        for _ in range(5):
            balancer.reload()
        eventually(lambda: balancer.fds() <= before, "no descriptor is left behind")


def interface_address():
    """An address of an interface other than the loopback one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no such address")
        return probe.getsockname()[0]


@pytest.mark.parametrize("theirs, shared", [("127.0.0.2", False), ("0.0.0.0", True),
                                            ("an interface's", True)])
def test_a_bind_that_moves_into_somebody_elses_is_refused(theirs, shared):
    """Also when he would share it, which takes connections away without a word."""
    interface = interface_address() if shared else None
    server, port = Server(serve_name, "a"), free_port()
    config = web_over([server], port)
    with Alacrity(config) as balancer, socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        other.bind((interface if theirs == "an interface's" else theirs, port))
        other.listen()
        config["listeners"]["web"]["bind"] = f"0.0.0.0:{port}"
        assert "in use" in balancer.reload(config, ok=False)
        config["listeners"]["web"]["bind"] = f"127.0.0.1:{port}"
        balancer.reload(config)
        assert ask(port) == b"a\n"


def test_a_listener_for_all_addresses_beside_one_for_one():
    """Each keeps its own clients, whichever came first."""
    a, b, port = Server(serve_name, "a"), Server(serve_name, "b"), free_port()
    config = web_over([a], port)
    with Alacrity(config) as balancer:
        config["listeners"]["rest"] = {"bind": f"0.0.0.0:{port}", "pool": "rest"}
        config["pools"]["rest"] = {"backends": backends([b])}
        balancer.reload(config)
        assert ask(port) == b"a\n" and ask((OTHER, port)) == b"b\n"
        del config["listeners"]["web"]
        balancer.reload(config)
        assert ask(port) == ask((OTHER, port)) == b"b\n"
        config["listeners"]["web"] = {"bind": f"127.0.0.1:{port}", "pool": "app"}
        balancer.reload(config)
        assert ask(port) == b"a\n" and ask((OTHER, port)) == b"b\n"


def test_sessions_on_a_removed_backend_go_on():
    a, b, port = Server(serve_named_echo, "a"), Server(serve_named_echo, "b"), free_port()
    with Alacrity(web_over([a], port)) as balancer, dial(port) as stays:
        assert stays.recv(10) == b"a\n"
        balancer.reload(web_over([b], port))
        with dial(port) as client:
            assert client.recv(10) == b"b\n"
        stays.sendall(b"still here")
        assert stays.recv(100) == b"still here"
        assert list(balancer.pool()["backends"]) == ["b"]


def test_counters_and_what_is_open_survive():
    a, port = Server(serve_named_echo, "a"), free_port()
    config = web_over([a], port)
    with Alacrity(config) as balancer, dial(port) as stays:
        stays.recv(10)
        for _ in range(5):
            dial(port).close()

        def counts():
            listener = balancer.listener()
            return listener["sessions_active"], listener["sessions_total"]
        eventually(lambda: counts() == (1, 6), "all were accepted, one is left")
        balancer.reload({**config, "workers": 3})
        assert counts() == (1, 6)
        assert balancer.backend("a")["active"] == 1


def test_admin_state_and_health_survive():
    a, b, port = Server(serve_name, "a"), Server(serve_name, "b"), free_port()
    check = {"type": "tcp", "interval": "10m", "rise": 1, "fall": 1}
    config = web_over([a, b], port, check=check)
    with Alacrity(config) as balancer:
        balancer.wait_state("a", "up")
        balancer.admin("backend", "drain", "app/a")
        balancer.reload(config)
        assert balancer.state("a") == "drain"
        assert {ask(port) for _ in range(10)} == {b"b\n"}


def test_runtime_weight_holds_until_the_configured_one_changes():
    a, port = Server(serve_name, "a"), free_port()
    config = web_over([a], port)
    with Alacrity(config) as balancer:
        balancer.admin("backend", "weight", "app/a", "7")
        balancer.reload({**config, "workers": 1})
        assert balancer.backend("a")["weight"] == 7
        config["pools"]["app"]["backends"] = {"a": {"address": a.text, "weight": 3}}
        balancer.reload(config)
        assert balancer.backend("a")["weight"] == 3


def test_a_changed_address_is_used_and_its_health_forgotten():
    old, new, port = Server(serve_name, "a"), Server(serve_name, "new"), free_port()
    check = {"type": "tcp", "interval": "100ms", "rise": 1, "fall": 1}
    config = web_over([old], port, check=check)
    with Alacrity(config) as balancer:
        old.stop()
        balancer.wait_state("a", "down")
        config["pools"]["app"]["backends"] = {"a": new.text}
        balancer.reload(config)
        eventually(lambda: ask(port) == b"new\n", "the new address serves")
        balancer.wait_state("a", "up")


def test_many_reloads_asked_for_at_once_are_all_answered():
    a, port = Server(serve_name, "a"), free_port()
    with Alacrity(web_over([a], port)) as balancer:
        answers = []
        threads = [threading.Thread(
            target=lambda: answers.append(balancer.admin("reload", ok=None).returncode))
            for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [0] * 20
        assert ask(port) == b"a\n"


def test_reloads_leave_no_descriptors_behind():
    a, port = Server(serve_name, "a"), free_port()
    config = web_over([a], port, check={"type": "tcp", "interval": "10m"})
    with Alacrity(config) as balancer:
        balancer.reload()
        before = balancer.fds()
        for number in range(30):
            if number % 3 == 0:
                balancer.write(b"broken")
                balancer.reload(ok=False)
                balancer.write(config)
            balancer.reload()
        eventually(lambda: balancer.fds() <= before, f"back to {before} descriptors")
