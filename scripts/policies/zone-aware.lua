-- Zone aware: the least loaded backend of the zone where the balancer stands (`zone:` in the
-- configuration, of backends and of the whole or the pool). The others get what the zone lacks: of
-- a zone with half of its weight away, and `enough: 70`, two sessions in seven go elsewhere. They
-- also get what is too much: when the zone's backends are `busy` and `factor` times as full.
-- Use it when zones are far from each other, or traffic between them costs money.
local random = math.random

local function load(b)
  return (b.active + 1) / b.weight
end

-- How much of the zone's weight is up, as a share of what is enough.
local function look(pool, enough)
  local up, all = 0, 0
  if pool.zone == "" then error("zone-aware needs to know where it stands: write zone: NAME", 0) end
  for i = 1, #pool.all do
    local b = pool.all[i]
    if b.zone == pool.zone then
      all = all + b.weight
      if b.state == "up" or b.state == "starting" then up = up + b.weight end
    end
  end
  return all > 0 and up / all * 100 / enough or 0
end

local function new(cfg)
  return {
    pick = function(self, ctx, pool)
      if self.generation ~= pool.generation then -- a backend came, went or changed
        self.share = look(pool, cfg.enough)
        self.generation = pool.generation
      end
      local near, far = pool:near(), pool:far()
      if random() >= self.share then return far:least() or near:least() end
      local here = near:least()
      if here and load(here) <= cfg.busy then return here end
      local there = far:least()
      if here and not (there and load(here) > cfg.factor * load(there)) then return here end
      return there
    end,
  }
end

return {
  api = 1,
  kind = "policy",
  name = "zone-aware",
  options = {
    enough = { type = "number", default = 70, min = 1, max = 100,
      help = "percent of the zone's weight that must be up to carry all sessions" },
    busy = { type = "integer", default = 100, min = 0,
      help = "sessions for each unit of weight from which on a backend may count as too full" },
    factor = { type = "number", default = 2, min = 1,
      help = "how many times fuller than the other zones' it must be then" },
  },
  new = new,
}
