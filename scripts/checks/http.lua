-- HTTP: up when a request is answered with an expected status (and, if asked, an expected text).
-- Use it for HTTP services: have the service answer 503 at `path` when it wants no more sessions.
local net = require "alacrity.net"

--- "200-399" or "204" or 204 -> lowest, highest.
local function range(text)
  local low, high = tostring(text):match("^(%d%d%d)%-(%d%d%d)$")
  low = low or tostring(text):match("^%d%d%d$")
  if not low then error("expect: '" .. tostring(text) .. "' is no status; write 200 or 200-399", 0) end
  return tonumber(low), tonumber(high or low)
end

local function is_expected(status, ranges)
  for i = 1, #ranges do
    if status >= ranges[i][1] and status <= ranges[i][2] then return true end
  end
  return false
end

local function no_line_breaks(name, value)
  if value:find("[%c ]") then error(name .. ": no spaces or control characters, please", 0) end
  return value
end

return {
  api = 1,
  kind = "check",
  name = "http",
  options = {
    method = { type = "string", default = "GET" },
    path = { type = "string", default = "/" },
    host = { type = "string", default = "" }, -- empty: the backend's address
    expect = { type = "list", default = { "200-399" } }, -- statuses and ranges of them
    match = { type = "string", default = "" }, -- a text the body must contain; empty: not read
  },
  new = function(cfg)
    local ranges = {}
    for i, text in ipairs(cfg.expect) do ranges[i] = { range(text) } end
    local method, path = no_line_breaks("method", cfg.method), no_line_breaks("path", cfg.path)
    local host = no_line_breaks("host", cfg.host)

    local function ask(socket, backend)
      local ok, err = socket:send(method .. " " .. path .. " HTTP/1.1\r\nHost: "
        .. (host ~= "" and host or backend.address)
        .. "\r\nUser-Agent: alacrity\r\nConnection: close\r\n\r\n")
      if not ok then return "down", err end
      local line, failure = socket:receive_line()
      if not line then return "down", failure end
      local status = line:match("^HTTP/1%.[01] (%d%d%d)")
      if not status then return "down", "not an HTTP answer" end
      if not is_expected(tonumber(status), ranges) then return "down", "status " .. status end
      if cfg.match ~= "" then
        local rest, why = socket:receive_all()
        if not rest then return "down", why end
        local head_end = select(2, rest:find("\r\n\r\n", 1, true)) or 0
        if not rest:find(cfg.match, head_end + 1, true) then
          return "down", "status " .. status .. ", but the body does not match"
        end
      end
      return "up", "status " .. status
    end

    return {
      check = function(self, backend)
        local socket, err = net.connect(backend)
        if not socket then return "down", err end
        local answer, info = ask(socket, backend)
        socket:close()
        return answer, info
      end,
    }
  end,
}
