"""What the balancer says of itself: right, exact, and in a form that its readers accept."""
import csv
import html.parser
import io
import subprocess

import pytest

from support import (Alacrity, Server, ask, backends, dead_address, dial, free_port, read_all,
                     read_exactly, serve_named_echo, serve_name, web_over)

SESSIONS, UP, DOWN = 137, 1000, 2500


def measured(connection, _server):
    read_exactly(connection, UP)
    connection.sendall(bytes(DOWN))


@pytest.fixture
def used():
    """A balancer that has served SESSIONS sessions of known size and is at rest."""
    servers, port = [Server(measured, name) for name in ("a", "b")], free_port()
    config = web_over(servers, port, suspect_after=0)
    config["pools"]["odd"] = {"backends": {"x.y-z_1": dead_address()}}
    with Alacrity(config) as balancer:
        for _ in range(SESSIONS):
            with dial(port) as client:
                client.sendall(bytes(UP))
                assert len(read_all(client)) == DOWN
        balancer.at_rest()
        yield balancer


def test_json_is_exact(used):
    status, kind, _ = used.get("/stats.json")
    assert status == 200 and kind.startswith("application/json")
    stats = used.stats()
    web, pool = stats["listeners"]["web"], stats["pools"]["app"]
    for totals in (web, pool):
        assert totals["sessions_total"] == SESSIONS
        assert totals["bytes_in_total"] == SESSIONS * UP
        assert totals["bytes_out_total"] == SESSIONS * DOWN
        assert totals["sessions_active"] == 0
    assert web["ended"]["done"] == SESSIONS
    assert sum(web["ended"].values()) == SESSIONS
    members = pool["backends"]
    assert sum(b["sessions_total"] for b in members.values()) == SESSIONS
    assert sum(b["bytes_in_total"] for b in members.values()) == SESSIONS * UP
    assert sum(b["bytes_out_total"] for b in members.values()) == SESSIONS * DOWN
    assert all(b["active"] == 0 and b["admin"] == "ready" for b in members.values())
    assert list(members) == ["a", "b"], "in the order of the file"
    assert stats["configuration"] == 1 and "scripts" in stats


def test_open_sessions_are_seen():
    server, port = Server(serve_named_echo, "a"), free_port()
    with Alacrity(web_over([server], port)) as balancer, dial(port) as one, dial(port) as two:
        one.recv(10), two.recv(10)
        stats = balancer.stats()
        assert stats["listeners"]["web"]["sessions_active"] == 2
        assert stats["pools"]["app"]["backends"]["a"]["active"] == 2


def test_csv_is_what_readers_of_haproxy_expect(used):
    status, kind, body = used.get("/stats;csv")
    assert status == 200 and kind.startswith("text/plain")
    assert body.startswith("# pxname,svname,")
    rows = list(csv.DictReader(io.StringIO(body[2:])))
    by_name = {(row["pxname"], row["svname"]): row for row in rows}
    front, back = by_name["web", "FRONTEND"], by_name["app", "BACKEND"]
    for row in (front, back):
        assert (int(row["stot"]), int(row["bin"]), int(row["bout"])) == \
            (SESSIONS, SESSIONS * UP, SESSIONS * DOWN)
    assert int(by_name["app", "a"]["stot"]) + int(by_name["app", "b"]["stot"]) == SESSIONS
    assert by_name["app", "a"]["status"] == "UP"
    assert {row["type"] for row in rows} == {"0", "1", "2"}
    assert all(row["mode"] == "tcp" for row in rows if row["pxname"] in ("web", "app"))


def test_metrics_please_promtool(used):
    status, kind, body = used.get("/metrics")
    assert status == 200 and kind.startswith("text/plain") and "version=0.0.4" in kind
    done = subprocess.run(["promtool", "check", "metrics"], input=body, text=True,
                          capture_output=True, timeout=30)
    assert done.returncode == 0 and not done.stderr.strip() and not done.stdout.strip(), \
        done.stdout + done.stderr
    samples = [line.split() for line in body.splitlines() if line and line[0] != "#"]
    assert all(name.startswith("alacrity_") for name, *_ in samples)
    names = [sample[0] for sample in samples]
    assert len(names) == len(set(names)), "a sample twice"
    sessions = [float(value) for name, value in samples
                if name.startswith("alacrity_listener_sessions_total{") and '"web"' in name]
    assert sum(sessions) == SESSIONS
    one_hot = [float(value) for name, value in samples
               if name.startswith("alacrity_backend_state{") and '"a"' in name]
    assert sum(one_hot) == 1 and len(one_hot) > 3


class Page(html.parser.HTMLParser):
    VOID = {"meta", "link", "br", "hr", "img", "input", "col", "wbr"}

    def __init__(self):
        super().__init__()
        self.stack, self.links, self.text, self.seen = [], [], [], set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        if tag not in self.VOID:
            self.stack.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href") and v]

    def handle_endtag(self, tag):
        assert self.stack and self.stack[-1] == tag, f"</{tag}> closes {self.stack[-3:]}"
        self.stack.pop()

    def handle_data(self, data):
        self.text.append(data)


def test_html_stands_alone(used):
    status, kind, body = used.get("/")
    assert status == 200 and kind.startswith("text/html")
    page = Page()
    page.feed(body)
    assert body.lower().startswith("<!doctype html>")
    text = "".join(page.text)
    assert {"title", "table"} <= page.seen
    for name in ("web", "app", "odd", "x.y-z_1"):
        assert name in text
    elsewhere = [at for at in page.links if "//" in at and not at.startswith("data:")]
    assert not elsewhere, "an asset from elsewhere"
    assert "viewport" in body and "prefers-color-scheme" in body


def test_healthz_and_livez(used):
    assert used.get("/healthz")[0] == 200
    assert used.get("/livez")[0] == 200


def test_what_is_not_there(used):
    assert used.get("/nothing")[0] == 404
    assert used.get("/stats.json", method="DELETE")[0] == 405
    status, _, body = used.get("/stats.json", method="HEAD")
    assert status == 200 and body == ""


def test_a_service_of_the_users_own():
    port = free_port()
    script = """
        local Hello = {}
        Hello.__index = Hello
        function Hello:serve(req)
          if req.path == "/error" then error("on purpose") end
          if req.path == "/strange" then return "many", {}, function() end end
          return 200, "text/plain", req.method .. " " .. req.path .. "\\n"
        end
        return { api = 1, kind = "service", name = "hello", options = {},
                 new = function() return setmetatable({}, Hello) end }
        """
    server = Server(serve_name, "a")
    config = web_over([server], port)
    with Alacrity(config, scripts={"hello.lua": script}) as balancer:
        config["listeners"]["stats"] = {"bind": f"127.0.0.1:{balancer.stats_port}",
                                        "service": {"script": "./hello.lua"}}
        balancer.reload(config)
        assert balancer.get("/some/path")[::2] == (200, "GET /some/path\n")
        assert balancer.get("/error")[0] == 500
        assert balancer.get("/strange")[0] == 500
        assert balancer.get("/again")[0] == 200
        assert balancer.get("/livez")[0] == 200, "answered by C, whatever the script does"
        assert ask(port) == b"a\n"


def test_the_command_tells_the_same():
    server, port = Server(serve_name, "a"), free_port()
    with Alacrity(web_over([server], port)) as balancer:
        for _ in range(10):
            ask(port)
        balancer.at_rest()
        told = balancer.admin("stats")
        for kind, name in (("listeners", "web"), ("pools", "app")):
            totals = next(row for row in told[kind] if row["name"] == name)
            assert totals["sessions_total"] == 10 and totals["bytes_in_total"] == 320
        backend, = balancer.admin("backend", "list", "app")["backends"]
        assert backend["name"] == "a" and backend["sessions_total"] == 10
        assert "web" in balancer.admin("stats", plain=True)


def test_a_stats_page_of_many_backends():
    """A thousand backends: every format is whole, and traffic is served meanwhile."""
    server, port = Server(serve_name, "a"), free_port()
    config = web_over([server], port, policy="first")
    config["pools"]["app"]["backends"] = {
        **backends([server]), **{f"b{i}": f"127.0.0.1:{1 + i}" for i in range(1000)}}
    with Alacrity(config) as balancer:
        assert len(balancer.pool()["backends"]) == 1001
        assert balancer.get("/")[2].count("b999") >= 1
        assert len(balancer.get("/stats;csv")[2].splitlines()) > 1001
        assert ask(port) == b"a\n"
