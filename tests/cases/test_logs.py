"""Logs: one line a session when switched on, JSON that is JSON, a file that can be rotated."""
import json
import signal

from support import Alacrity, Server, ask, eventually, free_port, serve_name, web_over


def lines_of(balancer, event):
    found = []
    for line in balancer.lines:
        if line.startswith("{"):
            entry = json.loads(line)
            if entry.get("event") == event:
                found.append(entry)
    return found


def test_one_line_a_session():
    server, port = Server(serve_name, "a"), free_port()
    with Alacrity({**web_over([server], port), "log": {"sessions": True}}) as balancer:
        for _ in range(25):
            ask(port)
        eventually(lambda: len(lines_of(balancer, "session")) >= 25, "25 lines")
        sessions = lines_of(balancer, "session")
        assert len(sessions) == 25
        for one in sessions:
            assert one["listener"] == "web" and one["backend"] == "a" and one["pool"] == "app"
            assert one["bytes_in"] == 32 and one["bytes_out"] == 2
            assert one["reason"] == "done" and one["retries"] == 0
            assert one["client"].startswith("127.0.0.1:") and one["duration_ms"] >= 0


def test_off_by_default():
    server, port = Server(serve_name, "a"), free_port()
    with Alacrity(web_over([server], port)) as balancer:
        ask(port)
        balancer.at_rest()
        balancer.stop()
        assert not lines_of(balancer, "session")


def test_every_json_line_is_json():
    server, port = Server(serve_name, 'a'), free_port()
    with Alacrity({**web_over([server], port), "log": {"level": "debug", "sessions": True}}) as it:
        it.write(b'"quotes \\" and \xc3\xa4 and tabs\t')
        it.reload(ok=False)
        ask(port)
        it.stop()
        for line in it.lines:
            assert isinstance(json.loads(line), dict), line


def test_a_file_is_reopened():
    server, port = Server(serve_name, "a"), free_port()
    config = web_over([server], port)
    with Alacrity(config) as balancer:
        log = balancer.folder / "out.log"
        config["log"] = {"target": str(log), "sessions": True}
        balancer.reload(config)
        ask(port)
        eventually(lambda: log.exists() and '"session"' in log.read_text(), "written to the file")
        log.rename(balancer.folder / "old.log")
        balancer.process.send_signal(signal.SIGUSR1)

        def again():
            ask(port)
            return log.exists() and '"session"' in log.read_text()
        eventually(again, "a new file")


def test_a_log_that_cannot_be_opened_is_refused():
    server, port = Server(serve_name, "a"), free_port()
    config = web_over([server], port)
    with Alacrity(config) as balancer:
        told = balancer.reload({**config, "log": {"target": "/nowhere/at/all.log"}}, ok=False)
        assert "/nowhere/at/all.log" in told
        assert ask(port) == b"a\n"
