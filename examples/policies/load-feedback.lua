-- Sessions go where the servers say they have room. Each server answers the check
-- ../checks/load.lua with a number, its load; the policy looks at what it said every other second.
local alacrity = require "alacrity"
local loads = alacrity.shared("load")

return {
  api = 1,
  kind = "policy",
  name = "load-feedback",
  options = {
    renew = { type = "duration", default = "2s", min = 10, help = "how long a load is believed" },
  },
  new = function(cfg)
    local known = {} -- by id: a pick should not have to ask the dictionary for every backend
    alacrity.every(cfg.renew / 1000, function() known = {} end)
    local function score(backend)
      local load = known[backend.id]
      if not load then
        load = loads:get(backend.name) or 1
        known[backend.id] = load
      end
      return load * (backend.active + 1)
    end
    return { pick = function(self, ctx, pool) return pool:min(score) end }
  end,
}
