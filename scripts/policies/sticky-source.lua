-- Sticky by source: a client address stays with its backend until it has not come for `expire`, also
-- when better ones come up meanwhile. If its backend is away it gets another, and stays there.
-- Use it for servers that keep something about a client for some time (a shopping cart, a login).
-- source-hash needs no memory, but sends clients back as soon as their backend returns.
--
-- All workers look into one table, which outlives reloads. It takes 68 bytes a client of what
-- `lua.shared` allows; when that is used up, who did not come for the longest time is forgotten. A
-- client's first backend comes from its hash, so two workers that meet it at once agree.
local alacrity = require "alacrity"
local homes = alacrity.shared("sticky-source") -- a backend's id, by pool and client

local function new(cfg)
  local expire = cfg.expire / 1000
  local base -- of the keys of this pool
  return {
    pick = function(self, ctx, pool)
      base = base or alacrity.hash(pool.name) % 2 ^ 20 * 2 ^ 32
      local key = base + ctx.client_hash
      local id = homes:get(key)
      local b = id and pool:find(id) or pool:maglev(ctx.client_hash)
      if b then homes:set(key, b.id, expire) end
      return b
    end,
  }
end

return {
  api = 1,
  kind = "policy",
  name = "sticky-source",
  options = {
    expire = { type = "duration", default = 1800000, min = 1000,
      help = "how long a client that does not come is remembered" },
  },
  new = new,
}
