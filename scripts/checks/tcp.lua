-- TCP: up when the backend accepts a connection.
-- Use it when nothing better is known of the protocol. It says that something listens, not that it
-- works; servers that count aborted handshakes (MySQL) want a check of their own.
local net = require "alacrity.net"

return {
  api = 1,
  kind = "check",
  name = "tcp",
  new = function()
    return {
      check = function(self, backend)
        local socket, err = net.connect(backend)
        if not socket then return "down", err end
        socket:close()
        return "up", "accepts connections"
      end,
    }
  end,
}
