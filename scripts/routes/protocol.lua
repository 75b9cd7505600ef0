-- Protocol: what a client sends first tells what it speaks, and that chooses the pool: `ssh`, `tls` or
-- `http`. Everything else, and who says nothing for `wait`, goes to the listener's pool; so do the
-- protocols without a pool of their own.
-- Use it for several protocols on one port, such as SSH on 443 for people behind strict firewalls. A
-- protocol in which the server speaks first (SMTP, MySQL) can be the listener's pool; it costs each of
-- its sessions `wait`.

local KNOWN = { ["SSH-"] = "ssh" }
for _, method in ipairs { "GET ", "HEAD", "POST", "PUT ", "DELETE", "OPTIONS", "PATCH", "CONNECT",
  "TRACE", "PRI " } do -- the last begins HTTP/2
  KNOWN[method:sub(1, 4)] = "http"
end

--- The word for the first four bytes; nil: not known.
local function protocol_of(bytes)
  return KNOWN[bytes] or bytes:find("^\22\3") and "tls" or nil -- a handshake record of any version
end

local function new(cfg)
  return {
    route = function(self, ctx)
      local pool = cfg[protocol_of((ctx:peek(4, cfg.wait / 1000))) or "none"]
      if pool then ctx:use(pool) end
    end,
  }
end

return {
  api = 1,
  kind = "route",
  name = "protocol",
  options = {
    ssh = { type = "pool", help = "for SSH" },
    tls = { type = "pool", help = "for TLS, which HTTPS is as well" },
    http = { type = "pool", help = "for HTTP without TLS" },
    wait = { type = "duration", default = 1000, min = 1, max = 3600000,
      help = "how long to wait for the first bytes" },
  },
  new = new,
}
