-- Rate limit: a client address may open `rate` new sessions in `per`, and `burst` at once before that
-- counts; what is beyond is rejected, before a backend hears of it. The listener's pool gets the rest.
-- Use it where one source can open more sessions than its share: logins to guess passwords at,
-- crawlers, a client that reconnects in a loop. It is no protection against a flood from many
-- sources, and behind a NAT many people share one address: leave them room with `burst`.
--
-- What is kept of a client is one number, shared by all workers: when its bucket will be empty again
-- (each session pours in per / rate seconds). Two workers asked in the same instant may let one
-- session more pass.
local alacrity = require "alacrity"
local now = alacrity.now

local function new(cfg)
  local empty_at = alacrity.shared("rate-limit")
  local each = cfg.per / 1000 / cfg.rate
  local room = each * (cfg.burst - 1) + 1e-6 -- for what arithmetic loses
  return {
    route = function(self, ctx)
      local time, key = now(), ctx.listener .. " " .. ctx.client
      local at = math.max(empty_at:get(key) or 0, time)
      if at - time > room then return ctx:reject("rate limit") end
      empty_at:set(key, at + each, at + each - time)
    end,
  }
end

return {
  api = 1,
  kind = "route",
  name = "rate-limit",
  options = {
    rate = { type = "number", default = 10, min = 0.001, max = 1000000,
      help = "new sessions of one client address ..." },
    per = { type = "duration", default = 1000, min = 1, help = "... in this time" },
    burst = { type = "integer", default = 20, min = 1, max = 1000000,
      help = "that may come at once" },
  },
  new = new,
}
