-- Redis: up when it answers a PING. One that is still loading its data says so, and counts as down.
local net = require "alacrity.net"

local function ask(socket)
  local ok, err = socket:send("PING\r\n")
  if not ok then return "down", err end
  local line, why = socket:receive_line(100)
  if line == "+PONG" then return "up", "answers" end
  return "down", line or why
end

return {
  api = 1, kind = "check", name = "redis",
  new = function()
    return {
      check = function(self, backend)
        local socket, err = net.connect(backend)
        if not socket then return "down", err end
        local answer, info = ask(socket)
        socket:close()
        return answer, info
      end,
    }
  end,
}
