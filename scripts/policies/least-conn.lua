-- Least connections: the backend with the fewest open sessions for its weight; equal ones in turn.
-- Use it when sessions last differently (databases, SSH, websockets, downloads): a backend that is
-- slow to finish gets less. It counts the sessions of all workers. Idle backends are equal whatever
-- their weight, and take turns by it. For very many short sessions a new, empty backend draws them
-- all at first; p2c is gentler there.
return {
  api = 1,
  kind = "policy",
  name = "least-conn",
  new = function()
    return {
      pick = function(self, ctx, pool) return pool:least() end,
    }
  end,
}
