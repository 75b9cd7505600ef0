-- First: the first backend, in the order of the configuration, that can take sessions; the others
-- are its reserve, in turn. With `max_sessions` on the backends, the next fills when one is full.
-- Use it for a primary with standbys, or to keep most of a pool empty, to be switched off.
return {
  api = 1,
  kind = "policy",
  name = "first",
  new = function()
    return {
      pick = function(self, ctx, pool) return pool[1] end,
    }
  end,
}
