"""A reload that fails at its last steps (admin socket, log, workers) leaves everything as it was."""
import os
import resource
import signal

from support import (PATIENCE, Alacrity, Load, Server, ask, command, eventually, free_port, serve_name,
                     settled, web_over)


class Story:
    """A balancer that logs sessions to a file, and the places a reload would move things to."""

    def __init__(self, balancer, config, port):
        self.balancer, self.config, self.port = balancer, config, port
        self.log = balancer.folder / "old.log"
        self.new_log = balancer.folder / "new.log"
        self.new_socket = balancer.folder / "fresh" / "new.sock"

    def unchanged(self):
        """The old admin socket answers, the new one is not there, lines go to the old log."""
        assert command("status", "--socket", self.balancer.socket).returncode == 0
        assert not self.new_socket.parent.exists()
        lines = self.log.read_text().count('"event":"session"')
        assert ask(self.port) == b"a\n"
        eventually(lambda: self.log.read_text().count('"event":"session"') > lines,
                   "a line in the old log")
        assert not self.new_log.exists() or self.new_log.read_text() == ""

    def moved(self):
        assert command("status", "--socket", self.new_socket).returncode == 0
        assert not self.balancer.socket.exists()
        assert ask(self.port) == b"a\n"
        eventually(lambda: '"event":"session"' in self.new_log.read_text(), "a line in the new log")

    def to(self, **changes):
        return {**self.config, "log": {"target": str(self.new_log), "sessions": True},
                "admin": {"socket": str(self.new_socket)}, **changes}


def story(balancer, config, port):
    """Moves its log to a file first."""
    told = Story(balancer, config, port)
    config["log"] = {"target": str(told.log), "sessions": True}
    balancer.reload(config)
    told.unchanged()
    return told


def test_an_impossible_log_leaves_the_admin_socket_where_it_is():
    server, port = Server(serve_name, "a"), free_port()
    config = web_over([server], port)
    with Alacrity(config) as balancer:
        told = story(balancer, config, port)
        answer = balancer.reload(told.to(log={"target": "/nowhere/at/all.log"}), ok=False)
        assert "log.target" in answer and "/nowhere/at/all.log" in answer
        told.unchanged()
        balancer.reload(told.to())
        told.moved()


def test_an_impossible_admin_socket_leaves_the_log_where_it_is():
    server, port = Server(serve_name, "a"), free_port()
    config = web_over([server], port)
    with Alacrity(config) as balancer:
        told = story(balancer, config, port)
        answer = balancer.reload(told.to(admin={"socket": "/nowhere/at/all.sock"}), ok=False)
        assert "admin.socket" in answer and "/nowhere/at/all.sock" in answer
        told.unchanged()
        assert not told.new_log.exists()
        balancer.reload(told.to())
        told.moved()


def test_a_late_refusal_costs_no_client_anything():
    """What the reload opened beside the running sockets gets no share of the clients."""
    server, port = Server(serve_name, "a"), free_port()
    config = web_over([server], port)
    with Alacrity(config) as balancer:
        balancer.write({**config, "workers": 16, "log": {"target": "/nowhere/at/all.log"}})
        with Load(lambda _: ask(port) == b"a\n", per_second=400 / PATIENCE) as load:
            for _ in range(20):
                assert "log.target" in balancer.reload(ok=False)
                load.wait_done(5)
        assert not load.failures, (len(load.failures), load.failures[:3])


def test_wherever_descriptors_run_out_nothing_is_half_done():
    """Room for one descriptor more each time, until the reload works: it fails at every step."""
    steps = ("cannot listen on", "admin.socket", "log.target", "workers: worker")
    server, port = Server(serve_name, "a"), free_port()
    config = web_over([server], port)
    with Alacrity(config) as balancer:
        told = story(balancer, config, port)
        balancer.write(told.to(workers=4))
        plenty = resource.prlimit(balancer.pid, resource.RLIMIT_NOFILE)
        failed = set()
        for room in range(1, 60):
            said = len(told.log.read_text())
            highest = settled(lambda: max(map(int, os.listdir(f"/proc/{balancer.pid}/fd"))), 0.1)
            resource.prlimit(balancer.pid, resource.RLIMIT_NOFILE, (highest + room, plenty[1]))
            balancer.process.send_signal(signal.SIGHUP)
            eventually(lambda: "refused" in told.log.read_text()[said:] or
                       (told.new_log.exists() and "is live" in told.new_log.read_text()),
                       "the reload has ended")
            resource.prlimit(balancer.pid, resource.RLIMIT_NOFILE, plenty)
            refused = told.log.read_text()[said:]
            if not refused:
                break
            failed.update(step for step in steps if step in refused)
            told.unchanged()
        told.moved()
        assert failed == set(steps)
