-- At most so many sessions of one client open at once, over all workers; the rest is answered with
-- nil: with `fallback: reject` their connections are closed. A session that was counted says so
-- (ctx:set), and is taken off when it ends (on_close), whatever its end.
local alacrity = require "alacrity"
local open = alacrity.shared("open sessions by client")

return {
  api = 1,
  kind = "policy",
  name = "open-sessions",
  options = {
    most = { type = "integer", default = 10, min = 1, help = "open sessions of one client" },
  },
  new = function(cfg)
    return {
      pick = function(self, ctx, pool)
        if not ctx:get("counted") then
          if (open:get(ctx.client) or 0) >= cfg.most then return nil, "too many open sessions" end
          open:incr(ctx.client, 1, 0, 86400) -- a day: should an end ever go unheard
          ctx:set("counted", true)
        end
        return pool:least()
      end,
      on_close = function(self, closed)
        if closed:get("counted") then open:incr(closed.client, -1, 0, 86400) end
      end,
    }
  end,
}
