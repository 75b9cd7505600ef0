-- Round robin: every backend in turn, in proportion to its weight and well mixed (smooth weighted
-- round robin: 3,1 gives a a b a, not a a a b).
-- Use it when backends and sessions are alike. When sessions last very differently, least-conn
-- evens out better. Each worker keeps its own rotation.
local alacrity = require "alacrity"

return {
  api = 1,
  kind = "policy",
  name = "round-robin",
  new = function()
    return {
      rotation = alacrity.rotation(),
      pick = function(self, ctx, pool) return pool:rotate(self.rotation) end,
    }
  end,
}
