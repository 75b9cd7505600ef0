-- Peak EWMA: draws two backends and takes the one that should answer sooner: time to connect times
-- open sessions, for its weight. The time is the average or, if that is more, the last one: a spike
-- counts at once, and is forgiven slowly.
-- Use it when backends differ in distance or are now and then overloaded. It sees how long it takes
-- to connect, not to answer: a slow application behind a quick kernel looks quick.
--
-- Nobody is given up for an old measurement: it fades while it grows old, until the backend is worth
-- a try again. That try makes it count in full until its outcome is known: one session finds out,
-- not a crowd.
local now = require("alacrity").now
local exp, huge, max = math.exp, math.huge, math.max

local function new(cfg)
  local sent_at = {} -- by backend id: when this worker last sent a session there
  local time = 0
  local function cost(b)
    local sent = sent_at[b.id] or -huge
    local connect_ms = max(b.connect_ewma_ms, b.connect_last_ms)
    if connect_ms == 0 then -- never measured: worth a try, unless one is on its way
      return time - sent < cfg.decay / 1000 and huge or 0
    end
    local age = time - max(sent, b.connected_at)
    return connect_ms * exp(-1000 * age / cfg.decay) * (b.active + 1) / b.weight
  end

  return {
    pick = function(self, ctx, pool)
      time = now()
      local b = pool:p2c(cost)
      if b then sent_at[b.id] = time end
      return b
    end,
  }
end

return {
  api = 1,
  kind = "policy",
  name = "peak-ewma",
  options = {
    decay = { type = "duration", default = 10000, min = 100,
      help = "a measurement this old counts for a third" },
  },
  new = new,
}
