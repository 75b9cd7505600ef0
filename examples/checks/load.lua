-- The server answers a connect with one line, its load as a number such as 0.7. Policies find it in
-- the dictionary `load`, for as long as checks go on.
local alacrity, net = require "alacrity", require "alacrity.net"
local loads = alacrity.shared("load")
local shown = alacrity.histogram("server_load", { 0.25, 0.5, 1, 2, 4 }, "Load the servers told of.")

return {
  api = 1,
  kind = "check",
  name = "load",
  options = {
    keep = { type = "duration", default = "1m", min = 1000, help = "how long an answer counts" },
  },
  new = function(cfg)
    return {
      check = function(self, backend)
        local socket, why = net.connect(backend)
        if not socket then return "down", why end
        local line, silence = socket:receive_line()
        socket:close()
        local load = tonumber(line)
        if not (load and load >= 0) then return "down", line and "no load: " .. line or silence end
        loads:set(backend.name, load, cfg.keep / 1000)
        shown:observe(load)
        return "up", "load " .. load
      end,
    }
  end,
}
