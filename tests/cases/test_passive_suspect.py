"""Failed connects in a row put a backend aside at once, before any check has noticed."""
from support import (Alacrity, Server, ask, backends, dead_address, eventually, free_port,
                     serve_name, web_over)

# So rare that within this story only the first check and those asked for by a suspicion happen.
RARE = {"type": "tcp", "interval": "10m", "timeout": "500ms", "rise": 1, "fall": 1}


def test_suspect_at_once_and_back_by_a_check():
    a, b, port = Server(serve_name, "a"), Server(serve_name, "b"), free_port()
    config = {**web_over([a, b], port, check=RARE, suspect_after=3), "workers": 1}
    with Alacrity(config) as balancer:
        balancer.wait_state("a", "up")
        balancer.wait_state("b", "up")
        a.stop()
        for _ in range(30):
            assert ask(port) == b"b\n"
        pool = balancer.at_rest()["pools"]["app"]
        assert pool["backends"]["a"]["state"] in ("suspect", "down")
        assert pool["backends"]["a"]["connect_failures_total"] == 3, "three were enough to know"
        assert pool["retries_total"] == 3
        # The suspicion asked for a check at once, which with fall 1 makes it certain.
        balancer.wait_state("a", "down")


def test_a_suspicion_that_a_check_clears():
    """The server is back before it is checked: it is used again without waiting an interval."""
    a, b, port = Server(serve_name, "a"), Server(serve_name, "b"), free_port()
    quick = {**RARE, "interval": "200ms", "fall": 1000}
    config = {**web_over([a, b], port, check=quick, suspect_after=2), "workers": 1}
    with Alacrity(config) as balancer:
        balancer.wait_state("a", "up")
        a.stop()
        for _ in range(10):
            assert ask(port) == b"b\n"
        assert balancer.state("a") in ("suspect", "down")  # the check that follows may have been
        a.start()
        balancer.wait_state("a", "up")
        assert {ask(port) for _ in range(10)} == {b"a\n", b"b\n"}


def test_without_a_check_a_suspect_is_tried_again():
    """Nobody checks it: after a while a session may find out."""
    live, port = Server(serve_name, "live"), free_port()
    address = dead_address()
    config = {**web_over([], port, suspect_after=3), "workers": 1}
    config["pools"]["app"]["backends"] = {"dead": address, **backends([live])}
    with Alacrity(config) as balancer:
        for _ in range(10):
            assert ask(port) == b"live\n"
        eventually(lambda: balancer.backend("dead")["state"] == "suspect")
        failures = balancer.backend("dead")["connect_failures_total"]
        assert failures == 3
        eventually(lambda: balancer.backend("dead")["state"] == "up", "it is given another trial")

        def is_tried():
            assert ask(port) == b"live\n"
            return balancer.backend("dead")["connect_failures_total"] > failures
        eventually(is_tried, "sessions try it again, and go elsewhere")


STUCK = """
return { api = 1, kind = "check", name = "stuck", new = function()
  local seen = {}
  return { check = function(self, backend)
    if backend.name == "b" then return "down", "b is never well" end
    if seen[backend.name] then while true do end end
    seen[backend.name] = true
    return "up"
  end }
end }
"""


def test_a_check_that_is_out_keeps_nobody_aside():
    """It is stopped too often. Suspects and those it put down are tried again, and all say why."""
    a, b, port = Server(serve_name, "a"), Server(serve_name, "b"), free_port()
    check = {"script": "./stuck.lua", "interval": "100ms", "rise": 1, "fall": 1}
    config = {**web_over([a, b], port, check=check, suspect_after=2), "workers": 1,
              "lua": {"overruns": 2, "budget": "50ms"}}
    out = "check ./stuck.lua is out: "
    with Alacrity(config, scripts={"stuck.lua": STUCK}) as balancer:
        balancer.wait_line("pool app: check ./stuck.lua is out")
        balancer.wait_state("b", "up")
        assert balancer.backend("b")["reason"] == out + "not checked: tried again"
        assert balancer.backend("a")["reason"] == out + "not checked"
        assert balancer.pool()["check_out"] is True
        assert 'alacrity_pool_check_out{pool="app"} 1\n' in balancer.get("/metrics")[2]
        a.stop()
        for _ in range(10):
            assert ask(port) == b"b\n"
        eventually(lambda: balancer.state("a") == "suspect")
        a.start()
        balancer.wait_state("a", "up")
        eventually(lambda: {ask(port) for _ in range(4)} == {b"a\n", b"b\n"})
