"""What takes long for one does not hold up the others of its worker: a log that is not taken, picks
that take their time, long lists."""
import contextlib
import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import threading

import pytest

from support import (LIMIT, PATIENCE, QUESTION, Alacrity, Server, ServerProcess, ask, dial,
                     eventually, free_port, read_all, read_exactly, serve_name, web_over)

LOST = re.compile(r"(\d+) lines dropped")


# ---- a log that is not taken ----

class Reader:
    """Takes what the log says only after `go_on`. Until then nobody reads at all, or the process
    that reads is stopped."""

    def __init__(self, fifo, kind):
        os.mkfifo(fifo)
        self.text, self.process = b"", None
        if kind == "unread":
            self.descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        else:
            self.process = subprocess.Popen(["cat", str(fifo)], stdout=subprocess.PIPE)
            self.process.send_signal(signal.SIGSTOP)
            self.descriptor = self.process.stdout.fileno()

    def go_on(self):
        os.set_blocking(self.descriptor, False)
        if self.process:
            self.process.send_signal(signal.SIGCONT)

    def lines(self):
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self.descriptor, 1 << 20):
                self.text += part
        return self.text.decode().splitlines()

    def end(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
        else:
            os.close(self.descriptor)


@pytest.mark.bound(120)
@pytest.mark.parametrize("kind", ["unread", "stopped"])
def test_a_log_that_is_not_taken(kind, folder):
    """Every session is served meanwhile; what is lost is counted, and said as soon as can be."""
    server, port = ServerProcess(serve_name, "a"), free_port()
    config = web_over([server], port)
    with Alacrity(config) as balancer:
        reader = Reader(folder / "log", kind)
        if kind == "stopped":  # it opens its end only when it runs
            reader.process.send_signal(signal.SIGCONT)
            balancer.reload({**config, "log": {"target": str(folder / "log"), "sessions": True}})
            reader.process.send_signal(signal.SIGSTOP)
        else:
            balancer.reload({**config, "log": {"target": str(folder / "log"), "sessions": True}})
        asked = 0
        while balancer.stats()["log_dropped_total"] < 100:
            for _ in range(200):
                assert ask(port) == b"a\n"
                asked += 1
        balancer.at_rest()
        lost = balancer.stats()["log_dropped_total"]
        assert f"alacrity_log_lines_dropped_total {lost}\n" in balancer.get("/metrics")[2]
        reader.go_on()

        def all_said():
            said = sum(int(LOST.search(line).group(1)) for line in reader.lines()
                       if LOST.search(line))
            return said == lost
        eventually(all_said, "it says how many lines were lost")

        def sessions():
            return len([line for line in reader.lines() if '"session"' in line])
        eventually(lambda: sessions() + lost == asked, "each is there, or counted as lost")
        for line in reader.lines():
            json.loads(line)  # none was torn
        assert ask(port) == b"a\n"
        eventually(lambda: sessions() + lost == asked + 1, "the log goes on")
        balancer.reload(config)
        reader.end()


class Unread(Alacrity):
    """Nobody takes what it says, once it was told so."""

    def __init__(self, *arguments, **options):
        self.hold, self.resume = threading.Event(), threading.Event()
        super().__init__(*arguments, **options)

    def _read(self):
        for line in self.process.stdout:
            with self.heard:
                self.lines.append(line)
                self.heard.notify_all()
            if self.hold.is_set():
                self.resume.wait()


@pytest.mark.bound(120)
def test_standard_error_that_is_not_taken():
    """Sessions are served, reloads work, and it ends when told."""
    server, port = ServerProcess(serve_name, "a"), free_port()
    config = {**web_over([server], port), "log": {"sessions": True}}
    with Unread(config) as balancer:
        balancer.hold.set()
        while balancer.stats()["log_dropped_total"] < 100:
            for _ in range(200):
                assert ask(port) == b"a\n"
        balancer.reload(config)
        assert ask(port) == b"a\n"
        balancer.process.send_signal(signal.SIGTERM)
        assert balancer.process.wait(LIMIT) == 0
        balancer.resume.set()


def test_a_fifo_without_a_reader_is_refused(folder):
    """It would swallow the log, or hold up who opens it."""
    os.mkfifo(folder / "log")
    server, port = Server(serve_name, "a"), free_port()
    config = web_over([server], port)
    with Alacrity(config) as balancer:
        told = balancer.reload({**config, "log": {"target": str(folder / "log")}}, ok=False)
        assert str(folder / "log") in told
        assert ask(port) == b"a\n"


# ---- picks that take their time ----

SLOW = """
return { api = 1, kind = "policy", name = "slow", new = function()
  local sum = 0
  return { pick = function(self, ctx, pool)
    for i = 1, 1000000 do sum = sum + i % 7 end -- some milliseconds, and not too many
    return pool[1]
  end } end }
"""


def test_slow_picks_do_not_add_up():
    """Newcomers that wait together are taken a few at a time: who is there gets a turn between."""
    server, port = Server(serve_name, "a"), free_port()
    config = web_over([server], port, policy={"script": "./slow.lua"})
    config.update(workers=1, lua={"pick_budget": "1s", "jit": True})
    with Alacrity(config, scripts={"slow.lua": SLOW}) as balancer:
        for _ in range(5):
            ask(port)
        one = balancer.stats()["workers"][0]["turn_cpu_max_ms"]
        os.kill(balancer.pid, signal.SIGSTOP)
        clients = [dial(port) for _ in range(60)]
        os.kill(balancer.pid, signal.SIGCONT)
        for client in clients:
            client.sendall(QUESTION)
            assert read_all(client) == b"a\n"
            client.close()
        worker = balancer.stats()["workers"][0]
        assert worker["turn_cpu_max_ms"] < 10 * one, f"one pick took about {one} ms"


def test_turns_are_told():
    """A pick that takes long shows as a long turn, in all three places."""
    server, port = Server(serve_name, "a"), free_port()
    config = web_over([server], port, policy={"script": "./slow.lua"})
    config.update(workers=1, lua={"pick_budget": "1s"})
    slower = SLOW.replace("1000000", "20000000")
    with Alacrity(config, scripts={"slow.lua": slower}) as balancer:
        before = balancer.stats()["workers"][0]
        assert ask(port) == b"a\n"
        worker = balancer.stats()["workers"][0]
        assert worker["turn_max_ms"] >= worker["turn_cpu_max_ms"] > 5
        assert worker["long_turns_total"] >= before["long_turns_total"] + 1
        metrics = balancer.get("/metrics")[2]

        def metric(name):
            return float(re.search(rf'^alacrity_worker_{name}{{worker="0"}} (\S+)$', metrics,
                                   re.M).group(1))
        assert metric("turn_seconds_max") * 1001 > worker["turn_max_ms"]  # rounded
        assert metric("turn_cpu_seconds_max") > 0.005
        assert metric("long_turns_total") >= worker["long_turns_total"]
        status = balancer.admin("status")["workers"][0]
        assert status["turn_max_ms"] >= status["turn_cpu_max_ms"] > 5
        assert "longest turn" in balancer.get("/")[2]


# ---- long lists ----

def test_a_long_list_of_sessions():
    """It is made in many turns, while sessions come and go; those that stay are there once, by
    age."""
    def stay(connection, _server):
        connection.sendall(read_exactly(connection, 1))
        connection.recv(1)

    server, port = Server(stay, "a"), free_port()
    config = {**web_over([server], port), "workers": 1}
    count = 1000 // PATIENCE
    with Alacrity(config) as balancer:
        clients = []
        for _ in range(count):
            client = dial(port)
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            clients.append(client)
        # Gaps, and objects that are used again.
        for client in clients[::3]:
            client.close()
        staying = [c for i, c in enumerate(clients) if i % 3 != 0]
        eventually(lambda: balancer.listener()["sessions_active"] == len(staying))
        stop = threading.Event()

        def come_and_go():
            while not stop.is_set():
                with contextlib.suppress(OSError), dial(port) as client:
                    client.sendall(b"x")
                    client.recv(1)
        thread = threading.Thread(target=come_and_go)
        thread.start()
        ports = {client.getsockname()[1] for client in staying}
        for _ in range(5):
            answer = balancer.admin("session", "list")
            told = [int(one["client"].rpartition(":")[2]) for one in answer["sessions"]]
            assert ports <= set(told)
            assert len([one for one in told if one in ports]) == len(ports)
            ids = [int(one["id"]) for one in answer["sessions"]]
            assert ids == sorted(set(ids))
        stop.set()
        thread.join(LIMIT)
        for client in staying:
            client.close()


def test_the_table_of_descriptors_does_not_grow_while_it_serves():
    """Each growth would have every worker stand for some 10 ms."""
    server, port = Server(serve_name, "a"), free_port()
    with Alacrity(web_over([server], port)) as balancer:
        most = resource.prlimit(balancer.pid, resource.RLIMIT_NOFILE)[0]
        status = pathlib.Path(f"/proc/{balancer.pid}/status").read_text(encoding="ascii")
        assert int(re.search(r"FDSize:\s*(\d+)", status).group(1)) >= min(most, 65536)


# ---- the builder ----

def test_the_builder_lets_the_workers_go_first():
    """Else a reload takes a processor from them for some milliseconds."""
    server, port = Server(serve_name, "a"), free_port()
    config, own = web_over([server], port), os.getpriority(os.PRIO_PROCESS, 0)
    with Alacrity({**config, "workers": 1}) as balancer:
        balancer.reload({**config, "workers": 2})  # the second is started beside a builder at work
        nice = {name: os.getpriority(os.PRIO_PROCESS, int(task.name))
                for name, task in balancer.threads()}
    assert nice.pop("builder") == min(own + 10, 19)
    assert {name for name in nice if name.startswith("worker")} == {"worker 0", "worker 1"}
    assert set(nice.values()) == {own}, nice
