"""The connections that `alacrity test` makes up behave as those of a real balancer: one check says the
same of a server that is a list of steps and of a real one that does the same."""
import re
import socket

import pytest

from support import Alacrity, Server, free_port, reset
from test_offline_test import passes

# Sends (s) and receives (r) in the given order, and says what each answered.
CHECK = """
local alacrity, net = require "alacrity", require "alacrity.net"
return {api = 1, kind = "check", name = "tells",
  options = {acts = {type = "string"}},
  new = function(cfg) return {check = function(self, backend)
    local said, socket = {}, net.connect(backend)
    for act in cfg.acts:gmatch(".") do
      net.sleep(0.3) -- what the peer does meanwhile has come
      local answer, why
      if act == "s" then answer, why = socket:send("PING\\n") else answer, why = socket:receive(5, 1) end
      said[#said + 1] = act .. ":" .. tostring(answer or why)
    end
    local text = table.concat(said, " ")
    alacrity.log.info("told " .. text)
    return "up", text end} end}"""


def close_at_once(_connection, _server):
    pass


def pong_and_close(connection, _server):
    connection.sendall(b"+PONG")


def pong_and_reset(connection, _server):
    connection.sendall(b"+PONG")
    reset(connection)


def reset_at_once(connection, _server):
    reset(connection)


def leave_unread(connection, _server):
    connection.sendall(b"+PONG")
    connection.recv(1, socket.MSG_PEEK)  # the first send has come, and is left


def read_and_close(connection, _server):
    connection.sendall(b"+PONG")
    connection.recv(5)


# What the server does, as steps and really; the acts of the check; what they answer.
CASES = {
    "closes": ("{'close'}", close_at_once, "srs", "s:true r:closed s:reset"),
    "closes-read": ("'closed'", close_at_once, "rsr", "r:closed s:true r:closed"),
    "pong": ("{{send = '+PONG'}}", pong_and_close, "srrs", "s:true r:+PONG r:closed s:reset"),
    "pong-twice": ("{{send = '+PONG'}, 'close'}", pong_and_close, "ssr", "s:true s:reset r:+PONG"),
    "resets": ("{'reset'}", reset_at_once, "srs", "s:reset r:closed s:reset"),
    "resets-read": ("'reset'", reset_at_once, "rrs", "r:reset r:closed s:reset"),
    "pong-reset": ("{{send = '+PONG'}, 'reset'}", pong_and_reset, "rrs", "r:+PONG r:reset s:reset"),
    "unread": ("{{send = '+PONG'}, {wait = 0.4}}", leave_unread, "srr", "s:true r:+PONG r:reset"),
    "read": ("{{send = '+PONG'}, {expect = 'PING\\n'}}", read_and_close, "srr",
             "s:true r:+PONG r:closed"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_peer_that_goes_is_met_as_in_real_life(tmp_path, name):
    steps, handler, acts, said = CASES[name]
    passes(tmp_path, f"""
        test.case("it", function()
          local state, info = test.check("./tells.lua", {{acts = "{acts}"}}):run {{server = {steps}, timeout = 9}}
          test.equal(info, "{said}")
        end)""", tells=CHECK)
    server = Server(handler)
    config = {"log": {"level": "info"},
              "listeners": {"web": {"bind": f"127.0.0.1:{free_port()}", "pool": "app"}},
              "pools": {"app": {"backends": {"a": server.text},
                                "check": {"script": "./tells.lua", "with": {"acts": acts},
                                          "interval": "5s", "timeout": "4s"}}}}
    with Alacrity(config, scripts={"tells.lua": CHECK}) as balancer:
        line = balancer.wait_line("told ")
        assert f"told {said}" in line, line
