-- Canary: `percent` of the sessions go to the backends with a tag, the rest to the others; within
-- each group to the least loaded. When nobody of its group is there, a session goes to the other.
-- Use it to try a new version on a small part of the traffic: raise `percent` with a reload while
-- all is well. `by: client` draws the addresses instead of the sessions: the same people always see
-- the new version, and those who see it at 5 percent still do at 20.
local random = math.random

local function new(cfg)
  return {
    pick = function(self, ctx, pool)
      local canaries, others = pool:tagged(cfg.tag), pool:untagged(cfg.tag)
      local drawn = cfg.by == "client" and ctx.client_hash / 2 ^ 32 or random()
      if drawn * 100 < cfg.percent then return canaries:least() or others:least() end
      return others:least() or canaries:least()
    end,
  }
end

return {
  api = 1,
  kind = "policy",
  name = "canary",
  options = {
    tag = { type = "string", default = "canary", help = "of the backends to try" },
    percent = { type = "number", default = 5, min = 0, max = 100, help = "of the sessions" },
    by = { type = "string", choices = { "session", "client" }, default = "session",
      help = "what is drawn" },
  },
  new = new,
}
