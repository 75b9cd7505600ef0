-- Random: any backend, with a chance in proportion to its weight.
-- Use it when many balancers share the same backends: nothing marches in step, since nothing is
-- remembered. Over few sessions it is less even than round-robin; p2c is nearly always better.
local random = math.random

-- In one pass: each takes the place of the one before with a chance of its weight in all weights so
-- far. Drawn is not for each, but how far the weights must grow until the next one does.
local function pick(self, ctx, pool)
  local best, total, turn = nil, 0, 0
  for i = 1, #pool do
    total = total + pool[i].weight
    if total > turn then best, turn = i, total / random() end
  end
  return best and pool[best]
end

return {
  api = 1,
  kind = "policy",
  name = "random",
  new = function() return { pick = pick } end,
}
