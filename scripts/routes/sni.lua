-- SNI: the name a TLS client asks for chooses the pool. TLS is not ended here: the backend gets every
-- byte, its own certificate answers. A name is looked up as it is, then as `*.` with labels taken
-- off from the left (`*.example.org` is for all below example.org). Who asks for an unknown name, for
-- none, or does not speak TLS, goes to the listener's pool; without one, the session ends.
-- Use it for several services, each with certificates of its own, on one address and port.
--
-- The ClientHello may come in any number of packets and records; what does not look like one is not
-- waited for.
local byte, sub = string.byte, string.sub

local HANDSHAKE, CLIENT_HELLO, SERVER_NAME, HOST_NAME = 22, 1, 0, 0
local LONGEST, RECORDS = 16384, 16 -- that can be peeked at; that one hello may come in

-- Big endian numbers at a place of the text; nil past its end.
local function u8(text, at) return byte(text, at) end
local function u16(text, at)
  local a, b = byte(text, at, at + 1)
  return b and a * 256 + b
end
local function u24(text, at)
  local a, b, c = byte(text, at, at + 2)
  return c and a * 65536 + b * 256 + c
end

-- The first handshake message, put together from its records; nil: it is none, or not whole.
local function read_message(ctx)
  local message, at = "", 0
  for _ = 1, RECORDS do
    if at + 5 > LONGEST then return nil end
    local seen = ctx:peek(at + 5)
    local length = u16(seen, at + 4)
    if u8(seen, at + 1) ~= HANDSHAKE or u8(seen, at + 2) ~= 3 or not length or length == 0 then
      return nil
    end
    at = at + 5 + length
    if at > LONGEST then return nil end
    seen = ctx:peek(at)
    if #seen < at then return nil end
    message = message .. sub(seen, at - length + 1)
    if u8(message, 1) ~= CLIENT_HELLO then return nil end
    local whole = u24(message, 2)
    if whole and #message >= 4 + whole then return sub(message, 5, 4 + whole) end
  end
end

-- The host name in the extension's text.
local function read_name(list)
  if u8(list, 3) ~= HOST_NAME then return nil end
  local length = u16(list, 4)
  local name = length and sub(list, 6, 5 + length)
  return name and #name == length and name:match("^[%w%-_%.]+$")
end

-- The host name in a ClientHello; nil: none, or it is broken.
local function find_name(hello)
  local at = 2 + 32 + 1 -- behind version and random
  local length = u8(hello, at) -- of the session id
  at = length and at + 1 + length
  length = at and u16(hello, at) -- of the cipher suites
  at = length and at + 2 + length
  length = at and u8(hello, at) -- of the compression methods
  at = length and at + 1 + length
  length = at and u16(hello, at) -- of all extensions
  if not length then return nil end
  local last = at + 1 + length
  at = at + 2
  while at + 3 <= last do
    local kind = u16(hello, at)
    length = u16(hello, at + 2)
    if not kind or not length then return nil end
    if kind == SERVER_NAME then return read_name(sub(hello, at + 4, at + 3 + length)) end
    at = at + 4 + length
  end
end

local function find_pool(pools, name)
  name = name:lower():gsub("%.$", "")
  local pool = pools[name]
  while not pool do
    name = name:match("^[^%.]*%.(.+)$")
    if not name then return nil end
    pool = pools["*." .. name]
  end
  return pool
end

local function new(cfg)
  local pools = {}
  for name, pool in pairs(cfg.pools) do pools[name:lower()] = pool end
  return {
    route = function(self, ctx)
      local hello = read_message(ctx)
      local name = hello and find_name(hello)
      local pool = name and find_pool(pools, name)
      if pool then ctx:use(pool) end
    end,
  }
end

return {
  api = 1,
  kind = "route",
  name = "sni",
  options = {
    pools = { type = "map", of = "pool", required = true,
      help = "by name, such as {example.org: site, \"*.example.org\": others}" },
  },
  new = new,
}
