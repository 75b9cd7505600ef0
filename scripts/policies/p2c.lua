-- Power of two choices: draws two backends at random and takes the one with fewer open sessions for
-- its weight. Nearly as even as least-conn, but no herd: many workers or balancers that all see the
-- same emptiest backend do not rush it. The cost does not grow with the pool.
-- Use it for large pools, and when several balancers share the backends.
local function load(backend)
  if backend.active == 0 then return 0 end -- else the light ones of an idle pool would get nothing
  return (backend.active + 1) / backend.weight
end

return {
  api = 1,
  kind = "policy",
  name = "p2c",
  new = function()
    return {
      pick = function(self, ctx, pool) return pool:p2c(load) end,
    }
  end,
}
