"""alacrity.shared: what all workers and control see and count together, whatever happens to the
scripts that do it."""
import socket

import pytest

from support import (SANITIZED, Alacrity, Server, ask, dial, eventually, free_port, serve_name,
                     web_over)

# Counts the sessions of each client, before anything can go wrong.
COUNTING = """
local alacrity = require "alacrity"
local clients = alacrity.shared("clients")
return { api = 1, kind = "policy", name = "counting", new = function()
  return { pick = function(self, ctx, pool)
    clients:incr(ctx.client)
    clients:incr("all")
    %s
    return pool[1]
  end }
end }
"""
# The stats port: a path is a key of the dictionary `clients`.
READING = """
local clients = require("alacrity").shared("clients")
return { api = 1, kind = "service", name = "reading", new = function()
  return { serve = function(self, request)
    return 200, "text/plain", tostring(clients:get(request.path:sub(2)))
  end }
end }
"""


def start(body="", *, more=None):
    port = free_port()
    config = web_over([Server(serve_name, "a")], port, policy={"script": "./counting.lua"})
    config["lua"] = {"rollback_errors": 0}  # errors are part of it
    config.update(more or {})
    config["listeners"]["read"] = {"bind": f"127.0.0.1:{free_port()}",
                                   "service": {"script": "./reading.lua"}}
    balancer = Alacrity(config, scripts={"counting.lua": COUNTING % body, "reading.lua": READING})
    return balancer, config, port


def read(config, key):
    """The value of a key as the service `read` sees it."""
    port = int(config["listeners"]["read"]["bind"].rpartition(":")[2])
    with dial(port) as connection:
        connection.sendall(f"GET /{key} HTTP/1.0\r\n\r\n".encode())
        answer = b""
        while part := connection.recv(4096):
            answer += part
    return answer.partition(b"\r\n\r\n")[2].decode()


def ask_from(client, port):
    with socket.create_connection(("127.0.0.1", port), timeout=20,
                                  source_address=(client, 0)) as connection:
        connection.sendall(b"q" * 32)
        return connection.recv(100)


def test_sessions_counted_together_over_reload_error_and_stop():
    balancer, config, port = start()
    with balancer:
        counted = dict.fromkeys(("127.0.0.2", "127.0.0.3", "127.0.0.4"), 0)

        def sessions(count):
            for i in range(count):
                client = list(counted)[i % 3]
                assert ask_from(client, port) == b"a\n"
                counted[client] += 1
            for client, times in counted.items():
                assert read(config, client) == str(times)
            assert read(config, "all") == str(sum(counted.values()))

        sessions(60)
        balancer.reload()
        sessions(30)
        # The next version raises an error after it counted; the fallback answers.
        balancer.put("counting.lua", COUNTING % 'if ctx.listener == "web" then error("on purpose") end')
        balancer.reload()
        sessions(30)
        assert balancer.at_rest()["pools"]["app"]["policy_errors_total"] == 30
        # The next never ends after it counted: it is stopped, its state is made anew, and while
        # that lasts it is not asked.
        if SANITIZED != "tsan":
            balancer.put("counting.lua", COUNTING % 'if ctx.client == "127.0.0.9" then while true '
                                                    'do clients:set("spinning", 1) end end')
            balancer.reload()
            sessions(6)
            assert ask_from("127.0.0.9", port) == b"a\n"
            assert balancer.at_rest()["pools"]["app"]["policy_overruns_total"] == 1
            assert read(config, "127.0.0.9") == "1" and read(config, "spinning") == "1"
            counted["127.0.0.9"] = 1
            # Until both workers ask it again every session is counted or was not asked about.
            rested = 1
            while rested > 0:
                seen = balancer.at_rest()["pools"]["app"]["policy_resting_total"]
                for _ in range(30):
                    assert ask_from("127.0.0.2", port) == b"a\n"
                rested = balancer.at_rest()["pools"]["app"]["policy_resting_total"] - seen
                counted["127.0.0.2"] += 30 - rested
            sessions(9)
        # Workers that come, and workers that go.
        balancer.put("counting.lua", COUNTING % "")
        for workers in (3, 1):
            balancer.reload({**config, "workers": workers})
            sessions(30)
        shared = balancer.stats()["shared"]
        assert shared["dictionaries"]["clients"]["entries"] == shared["entries"]
        assert shared["evictions_total"] == 0


def test_what_a_script_may_not_change_while_it_is_loaded():
    balancer, config, port = start()
    with balancer:
        balancer.put("counting.lua", COUNTING.replace("new = function()", """new = function()
            clients:set("all", 1000)""") % "")
        said = balancer.reload(ok=False)
        assert "counting.lua:5: shared values can be changed only when the script serves" in said
        balancer.put("counting.lua", COUNTING % "")
        balancer.reload()
        assert read(config, "all") == "nil", "the trial picks were not counted"
        assert ask(port) == b"a\n" and read(config, "all") == "1"


CHURN = """
local table = require("alacrity").shared("churn")
local number = 0
return { api = 1, kind = "service", name = "churn", new = function()
  return { serve = function(self, request)
    for i = 1, %d do
      number = number + 1
      table:set("key " .. number, number %% 10 == 0 and ("x"):rep(number %% 300) or number, 60)
    end
    return 200, "text/plain", tostring(number)
  end }
end }
"""


@pytest.mark.bound(180)
def test_a_million_keys_in_four_mebibytes():
    each = 1000 if SANITIZED else 20000  # in one request
    balancer, config, _ = start(more={"lua": {"shared": "4MiB", "budget": "10s"}})
    with balancer:
        balancer.put("reading.lua", CHURN % each)
        balancer.reload()
        before = 0
        for i in range(1, 51):
            assert read(config, "") == str(i * each)
            if i == 10:
                before = balancer.rss()
        shared = balancer.stats()["shared"]
        assert shared["bytes"] <= shared["limit_bytes"] <= 4 << 20
        assert shared["entries"] + shared["evictions_total"] == 50 * each
        assert SANITIZED or balancer.rss() <= before + 2048, "memory stays flat"
        metrics = balancer.get("/metrics")[2]
        assert f'alacrity_shared_entries{{dictionary="churn"}} {shared["entries"]}\n' in metrics
        assert f'alacrity_shared_evictions_total {shared["evictions_total"]}\n' in metrics


def test_what_ran_out_leaves_the_books_by_itself():
    balancer, config, _ = start()
    with balancer:
        balancer.put("reading.lua", (CHURN % 1000).replace("60)", "0.2)"))
        balancer.reload()
        assert read(config, "") == "1000"
        eventually(lambda: balancer.stats()["shared"]["entries"] == 0, "swept")
        assert balancer.stats()["shared"]["evictions_total"] == 0


def test_a_bad_limit_is_told():
    balancer, config, port = start()
    with balancer:
        for bad in ("1MiB", "2GiB", "many", 0):
            said = balancer.reload({**config, "lua": {"shared": bad}}, ok=False)
            assert "shared" in said and "a size from 4MiB to 1GiB" in said, said
        assert ask(port) == b"a\n"
