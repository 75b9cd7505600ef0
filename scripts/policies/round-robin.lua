-- Round robin: every backend in turn, in proportion to its weight and well mixed (smooth weighted
-- round robin: 3,1 gives a a b a, not a a a b).
-- Use it when backends and sessions are alike. When sessions last very differently, least-conn
-- evens out better. Each worker keeps its own rotation.
local RoundRobin = {}
RoundRobin.__index = RoundRobin

function RoundRobin:pick(ctx, pool)
  local credit = self.credit -- by backend id: what a backend is owed
  local best, best_credit, total = nil, -math.huge, 0
  for i = 1, #pool do
    local b = pool[i]
    local weight = b.weight
    local c = (credit[b.id] or 0) + weight
    credit[b.id] = c
    total = total + weight
    if c > best_credit then best, best_credit = i, c end
  end
  if not best then return nil end
  local b = pool[best]
  credit[b.id] = best_credit - total
  return b
end

return {
  api = 1,
  kind = "policy",
  name = "round-robin",
  new = function() return setmetatable({ credit = {} }, RoundRobin) end,
}
