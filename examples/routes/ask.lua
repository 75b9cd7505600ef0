-- Asks a server of yours where a session belongs: it is sent the client's first line, a token, and
-- answers with a line, the name of a pool. What it answered is remembered for a while, and shown in
-- the session's log line. When it cannot be asked, the listener's pool gets the session.
local alacrity = require "alacrity"
local net = require "alacrity.net"

local function ask(server, token)
  local socket, why = net.connect(server, { timeout = 1 })
  if not socket then return nil, why end
  socket:send(token .. "\n")
  return socket:receive_line(64, 1) -- it is closed when the route ends
end

local function new(cfg)
  local known = alacrity.shared("tokens")
  return {
    route = function(self, ctx)
      local token = ctx:peek(16, 2):match("^(%w+)\n")
      if not token then return ctx:reject("no token") end
      local pool, why = known:get(token), nil
      if not pool then
        pool, why = ask(cfg.server, token)
        if not pool then return alacrity.log.warning { message = "no answer", reason = why } end
        known:set(token, pool, cfg.remember / 1000)
      end
      ctx:set("token", token)
      if pool == "none" then return ctx:reject("unknown token") end
      ctx:use(pool)
    end,
  }
end

return {
  api = 1,
  kind = "route",
  name = "ask",
  options = {
    server = { type = "string", required = true, help = "its address, such as 127.0.0.1:7000" },
    remember = { type = "duration", default = "1m", help = "an answer" },
  },
  new = new,
}
