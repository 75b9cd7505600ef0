-- Source hash: the same client address goes to the same backend, on every worker and every node,
-- without a table to share. When a backend leaves, nearly only its clients move (Maglev hashing).
-- Use it for caches and for servers that keep something about a client. Behind a NAT many people
-- are one address: then the spread is only as even as the addresses are.
return {
  api = 1,
  kind = "policy",
  name = "source-hash",
  new = function()
    return {
      pick = function(self, ctx, pool) return pool:maglev(ctx.client_hash) end,
    }
  end,
}
