-- Ring hash with bounded load: as source-hash, the same client address goes to the same backend, but
-- none gets more than `factor` times its fair share of the open sessions: what is too much goes to
-- the next on the ring, for each client always in the same order. Up to `busy` sessions are never
-- too much: with few, shares say nothing, and clients would move about for no reason.
-- Use it for caches with a few very busy clients (a NAT, a crawler): plain hashing would drown one
-- backend. The nearer `factor` is to 1, the more even, and the more clients move.
return {
  api = 1,
  kind = "policy",
  name = "ring-hash",
  options = {
    factor = { type = "number", default = 1.25, min = 1, max = 100,
      help = "sessions one backend may have, as a multiple of the average" },
    busy = { type = "integer", default = 10, min = 0,
      help = "sessions for each unit of weight that it may have in any case" },
  },
  new = function(cfg)
    return {
      pick = function(self, ctx, pool)
        local b = pool:ring(ctx.client_hash)
        if not b or b.active < cfg.busy * b.weight then return b end
        return pool:ring(ctx.client_hash, cfg.factor)
      end,
    }
  end,
}
