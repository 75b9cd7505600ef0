-- At most so many new sessions a minute from one client, over all workers. The rest is answered
-- with nil: with `fallback: reject` their connections are closed.
local alacrity = require "alacrity"
local sessions = alacrity.shared("sessions by client")

return {
  api = 1,
  kind = "policy",
  name = "client-limit",
  options = {
    most = { type = "integer", default = 60, min = 1, help = "sessions a minute of one client" },
  },
  new = function(cfg)
    return {
      pick = function(self, ctx, pool)
        if ctx.attempt == 1 and sessions:incr(ctx.client, 1, 0, 60) > cfg.most then
          return nil, "too many sessions"
        end
        return pool:least()
      end,
    }
  end,
}
