-- Random: any backend, with a chance in proportion to its weight.
-- Use it when many balancers share the same backends: nothing marches in step, since nothing is
-- remembered. Over few sessions it is less even than round-robin; p2c is nearly always better.
local max, random = math.max, math.random

-- In one pass: each takes the place of the one before with a chance of its weight in all weights so
-- far. Drawn is not for each, but how far the weights must grow until the next one does.
local function walk(pool)
  local best, total, turn = nil, 0, 0
  for i = 1, #pool do
    total = total + pool[i].weight
    if total > turn then best, turn = i, total / random() end
  end
  return best and pool[best]
end

local function heaviest(pool)
  local most = 0
  for i = 1, #pool.all do most = max(most, pool.all[i].weight) end
  return most
end

-- Any one, taken with a chance of its weight in that of the heaviest; else again. That is the same
-- chance for each as in one pass, whose cost grows with the pool. Where the weights are so different
-- that nobody was taken in a few tries, it is made.
local function pick(self, ctx, pool)
  local count = #pool
  if count == 0 then return nil end
  if self.generation ~= pool.generation then
    self.heaviest, self.generation = heaviest(pool), pool.generation
  end
  for _ = 1, 16 do
    local backend = pool[random(count)]
    if random() * self.heaviest < backend.weight then return backend end
  end
  return walk(pool)
end

return {
  api = 1,
  kind = "policy",
  name = "random",
  new = function() return { pick = pick } end,
}
