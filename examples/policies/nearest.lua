-- The backend that has lately been fastest to connect, counting the sessions it already has.
return {
  api = 1, kind = "policy", name = "nearest",
  options = { penalty_ms = { type = "number", default = 1, min = 0 } },
  new = function(cfg)
    local function score(backend)
      return backend.connect_ewma_ms + cfg.penalty_ms * backend.active
    end
    return { pick = function(self, ctx, pool) return pool:min(score) end }
  end,
}
