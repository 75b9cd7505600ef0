-- Random: any backend, with a chance in proportion to its weight.
-- Use it when many balancers share the same backends: nothing marches in step, since nothing is
-- remembered. Over few sessions it is less even than round-robin; p2c is nearly always better.
local random = math.random

local function pick(self, ctx, pool)
  local total = 0
  for i = 1, #pool do total = total + pool[i].weight end
  local left = random() * total -- a point on a line made of all weights, in a row
  for i = 1, #pool do
    local b = pool[i]
    left = left - b.weight
    if left < 0 then return b end
  end
  return pool[#pool] -- only if a weight changed in between
end

return {
  api = 1,
  kind = "policy",
  name = "random",
  new = function() return { pick = pick } end,
}
