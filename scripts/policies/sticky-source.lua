-- Sticky by source: a client address stays with its backend until it has not come for `expire`, also
-- when better ones come up meanwhile. If its backend is away it gets another, and stays there.
-- Use it for servers that keep something about a client for some time (a shopping cart, a login).
-- source-hash needs no memory, but sends clients back as soon as their backend returns.
--
-- Each worker remembers for itself. A client's first backend comes from its hash, so that workers
-- agree, unless one of them met the client while that backend was away.
local now = require("alacrity").now
local WAYS = 4 -- places where a client may stand; the one not used longest makes room

-- What is remembered: places in rows of WAYS, made once. It never grows, so no pick is ever slow.
local Memory = {}
Memory.__index = Memory

local function new_memory(size, expire)
  local self = { key = {}, value = {}, used = {}, expire = expire, rows = math.ceil(size / WAYS) }
  for i = 1, self.rows * WAYS do self.key[i], self.value[i], self.used[i] = -1, -1, -math.huge end
  return setmetatable(self, Memory)
end

-- The place of the key or, if it has none, the one to give it.
function Memory:place(key)
  local first = key % self.rows * WAYS + 1
  local oldest = first
  for i = first, first + WAYS - 1 do
    if self.key[i] == key then return i end
    if self.used[i] < self.used[oldest] then oldest = i end
  end
  return oldest
end

function Memory:get(key, time)
  local i = self:place(key)
  if self.key[i] == key and time - self.used[i] <= self.expire then return self.value[i] end
end

function Memory:set(key, value, time)
  local i = self:place(key)
  self.key[i], self.value[i], self.used[i] = key, value, time
end

local StickySource = {}
StickySource.__index = StickySource

function StickySource:pick(ctx, pool)
  local client, time = ctx.client_hash, now()
  local id = self.memory:get(client, time)
  local b = id and pool:find(id) or pool:maglev(client)
  if b then self.memory:set(client, b.id, time) end
  return b
end

return {
  api = 1,
  kind = "policy",
  name = "sticky-source",
  options = {
    expire = { type = "duration", default = 1800000, min = 1000,
      help = "how long a client that does not come is remembered" },
    size = { type = "integer", default = 16384, min = 4, max = 262144,
      help = "clients a worker remembers; twice as many as there are is comfortable" },
  },
  new = function(cfg)
    return setmetatable({ memory = new_memory(cfg.size, cfg.expire / 1000) }, StickySource)
  end,
}
