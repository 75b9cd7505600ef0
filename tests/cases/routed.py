"""What the stories of routes share: a balancer whose listener has one, and routes for it."""
import socket

from support import (Alacrity, Server, backends, dial, eventually, free_port, read_all, read_exactly,
                     serve_named_echo)


def script(body, top="", extra=""):
    """A route whose method has this body."""
    return f"""
local alacrity = require "alacrity"
local net = require "alacrity.net"
{top}
return {{ api = 1, kind = "route", name = "mine", {extra}
  new = function(cfg)
    return {{ route = function(self, ctx)
{body}
    end }}
  end }}
"""


# The first byte tells the pool.
BY_BYTE = script("""
      local first, why = ctx:peek(1)
      if first == "a" then ctx:use("a")
      elseif first == "b" then ctx:use("b")
      elseif first == "x" then ctx:reject("unwanted")
      elseif first == "u" then ctx:use("nowhere")
      elseif first == "e" then error("a telling word")
      elseif first == "r" then return "a"
      elseif first == "l" then while true do end
      elseif first == "s" then net.sleep(3600) end
""")


class Routed:
    """Listener `web` with a route over pools a, b and rest, the last its default; `plain` beside
    it has none."""

    def __init__(self, route=BY_BYTE, handler=serve_named_echo, *, pool="rest", timeout=None,
                 use=None, listener=None, servers=None, **top):
        self.port, self.plain = free_port(), free_port()
        self.servers = servers or {name: Server(handler, name) for name in ("a", "b", "rest")}
        web = {"bind": f"127.0.0.1:{self.port}", "route": use or {"script": "./mine.lua"},
               **(listener or {})}
        if pool:
            web["pool"] = pool
        if timeout:
            web["timeouts"] = {"route": timeout}
        self.config = {
            "listeners": {"web": web, "plain": {"bind": f"127.0.0.1:{self.plain}", "pool": "rest"}},
            "pools": {name: {"backends": backends([server])}
                      for name, server in self.servers.items()}, **top}
        self.balancer = Alacrity(self.config, scripts={"mine.lua": route})

    def __enter__(self):
        self.balancer.__enter__()
        return self

    def __exit__(self, *how):
        return self.balancer.__exit__(*how)

    def answer(self, first):
        """The name of the server that answers to these bytes; None: the session was ended."""
        with dial(self.port) as client:
            client.sendall(first)
            client.shutdown(socket.SHUT_WR)
            got = read_all(client)
            if not got:
                return None
            name, _, rest = got.partition(b"\n")
            assert rest == first
            return name.decode()

    def web(self):
        return self.balancer.listener("web")

    def rest(self):
        return self.balancer.at_rest()["listeners"]["web"]

    def waiting(self, count):
        eventually(lambda: sum(s["state"] == "routing" for s in self.sessions()) >= count,
                   f"{count} sessions wait for their route")

    def sessions(self):
        return self.balancer.admin("session", "list")["sessions"]


# ---- one that looks and tells what it saw ----

PEEKS = script("""
      local bytes, why = ctx:peek(cfg.bytes, cfg.wait / 1000)
      d:set("got", bytes)
      d:set("why", why or "enough")
      d:incr("n")
      ctx:use("a")
""", top='local d = alacrity.shared("peeks")', extra="""
  options = { bytes = { type = "integer", default = 5 },
              wait = { type = "duration", default = 0 } },""")
READER = """
local d = require("alacrity").shared("peeks")
return { api = 1, kind = "service", name = "reader", new = function()
  return { serve = function(self, req)
    return 200, "text/plain", tostring(d:get(req.path:sub(2)))
  end }
end }
"""


class Peeking(Routed):
    def __init__(self, route=PEEKS, handler=serve_named_echo, *, options=None, **more):
        super().__init__(route, handler, use={"script": "./mine.lua", "with": options or {}}, **more)

    def __enter__(self):
        super().__enter__()
        self.reader = free_port()
        self.balancer.put("reader.lua", READER)
        self.config["listeners"]["reader"] = {"bind": f"127.0.0.1:{self.reader}",
                                              "service": {"script": "./reader.lua"}}
        self.balancer.reload(self.config)
        return self

    def read(self, key):
        with dial(self.reader) as client:
            client.sendall(f"GET /{key} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            return read_all(client).partition(b"\r\n\r\n")[2].decode()

    def saw(self):
        return self.read("got"), self.read("why")


def plain(routed):
    with dial(routed.plain) as client:
        client.sendall(b"z")
        return read_exactly(client, 6) == b"rest\nz"
