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


SPEAKER = """
local log = require("alacrity").log
return { api = 1, kind = "service", name = "speaker", new = function()
  return { serve = function(self, request)
    %s
    return 200, "text/plain", "said"
  end }
end }
"""


def speaking(body, path="/", log=None):
    """The lines a script writes when its service is asked once, after the balancer has ended."""
    server, port, own = Server(serve_name, "a"), free_port(), free_port()
    config = web_over([server], port)
    config["log"] = log or {}
    config["listeners"]["speak"] = {"bind": f"127.0.0.1:{own}",
                                    "service": {"script": "./speaker.lua"}}
    with Alacrity(config, scripts={"speaker.lua": SPEAKER % body}) as balancer:
        assert b"said" in ask(own, f"GET {path} HTTP/1.0\r\n\r\n".encode())
        suppressed = balancer.stats()["log_suppressed_total"]
        metrics = balancer.get("/metrics")[2]
        assert f"alacrity_log_lines_suppressed_total {suppressed}\n" in metrics
        assert balancer.admin("status")["log_suppressed"] == suppressed
        balancer.stop()
        for line in balancer.lines:
            assert log or isinstance(json.loads(line), dict), line
        return [line for line in balancer.lines if '"script"' in line or " script " in line]


def test_a_script_logs_fields():
    line, plain, plainer = (json.loads(one) for one in speaking("""
        log.warning { message = "slow answer", backend = "a", load = 0.25, sessions = 7, big = 2^40,
                      ok = true, bad = false, quote = 'a "b"\\n', nan = 0/0 }
        log.info("plain")
        log.info(5)"""))
    assert line["level"] == "warning" and line["script"] == "./speaker.lua"
    assert line["message"] == "slow answer" and line["backend"] == "a"
    assert line["load"] == 0.25 and line["sessions"] == 7 and line["big"] == 2 ** 40
    assert line["ok"] is True and line["bad"] is False
    assert line["quote"] == 'a "b"\n' and line["nan"] in ("nan", "-nan")
    assert list(line)[6:] == sorted(list(line)[6:]), "sorted by name"
    assert plain["message"] == "plain" and plainer["message"] == "5"


def test_fields_as_text():
    line, = speaking('log.info { message = "m", b = 1, a = "x y", ["c d\\ne=f"] = true }',
                     log={"format": "text"})
    assert line.endswith(' info script m script=./speaker.lua a="x y" b=1 c_d_e_f=true\n')


def test_what_a_script_cannot_do_to_the_log():
    """Names that forge, fields without end, values that are huge or none: each is one valid line
    that shows what was cut."""
    lines = [json.loads(one) for one in speaking("""
        log.info { message = "one", level = "error", time = 1, message_ = "x", ["a b"] = 1,
                   ["a=b"] = 2, ["shortened"] = true, [""] = "e", [7] = "seven", [{}] = 1 }
        local many = { message = "many" }
        for i = 1, 1000 do many["f" .. i] = i end
        log.info(many)
        log.info { message = ("m"):rep(100000), value = ("v"):rep(100000) }
        log.info { message = print, t = {}, f = print, nul = "a\\0b", bytes = "\\255\\254" }
        log.info(("p"):rep(100000))
        log.info {}
        log.info(setmetatable({}, { __tostring = error, __index = error, message = "x" }))
        """)]
    one, many, long, kinds, plain, empty, again = lines
    assert one["level"] == "info" and one["level_"] == "error" and one["time_"] == 1
    assert one["message"] == "one" and one["message_"] == "x" and one["a_b"] in (1, 2)
    assert one["shortened_"] is True and one["_"] == "e" and one["fields_left_out"] == 2
    assert many["fields_left_out"] == 984 and len([key for key in many if key[0] == "f"]) == 17
    assert long["message"] == "m" * 1020 + "..." and long["value"] == "v" * 252 + "..."
    assert kinds["message"] == "(a function)" and kinds["t"] == "(a table)"
    assert kinds["nul"] == "a b" and kinds["bytes"] == "\ufffd\ufffd"
    assert plain["message"].startswith("ppp") and plain["shortened"] is True
    assert empty["message"] == "" and again["message"] == ""


def test_a_script_that_logs_without_end_is_cut_short():
    own = free_port()
    config = web_over([Server(serve_name, "a")], free_port())
    config["lua"] = {"budget": "10s"}
    config["listeners"]["speak"] = {"bind": f"127.0.0.1:{own}",
                                    "service": {"script": "./speaker.lua"}}
    body = 'for i = 1, request.path == "/" and 5000 or 1 do log.info { message = "again" } end'
    with Alacrity(config, scripts={"speaker.lua": SPEAKER % body}) as balancer:
        def said(word):
            return [line for line in balancer.lines if word in line]
        ask(own, b"GET / HTTP/1.0\r\n\r\n")
        balancer.stats()
        eventually(lambda: len(said('"again"')) >= 100)
        left_out = balancer.stats()["log_suppressed_total"]
        assert 4000 <= left_out <= 4900, "100 in each second"
        eventually(lambda: len(said('"again"')) == 5000 - left_out)
        # The next that is written tells of them.
        eventually(lambda: ask(own, b"GET /one HTTP/1.0\r\n\r\n") and said("lines of the script"))
        told = json.loads(said("lines of the script")[-1])
        left_out = balancer.stats()["log_suppressed_total"]
        assert told["message"].startswith(f"{left_out} lines of the script left out")
        assert told["script"] == "./speaker.lua" and told["level"] == "warning"
