-- The stats service: shows everything the process knows of itself. Each page is a function from the
-- facts to a text, in a library file of its own; docs/stats.md describes them.
-- (/healthz and /livez never come here: the core answers them natively.)
local alacrity = require "alacrity"

local HTML, TEXT = "text/html; charset=utf-8", "text/plain; charset=utf-8"

local pages = {
  ["/"] = { HTML, require "alacrity.stats_page" },
  ["/stats.json"] = { "application/json", require "alacrity.stats_json" },
  ["/stats;csv"] = { TEXT, require "alacrity.stats_csv" },
  ["/metrics"] = { "text/plain; version=0.0.4; charset=utf-8", require "alacrity.stats_metrics" },
}
pages["/stats"] = pages["/"]
-- Collectors append ;csv or /;csv to the address they are given.
pages["/;csv"] = pages["/stats;csv"]
pages["/stats/;csv"] = pages["/stats;csv"]

local Stats = {}
Stats.__index = Stats

function Stats:serve(req)
  local page = pages[(req.path:gsub("%%3[Bb]", ";"))]
  if not page then return 404, TEXT, "Not found. Try / /stats.json /stats;csv /metrics\n" end
  if req.method ~= "GET" and req.method ~= "HEAD" then
    return 405, TEXT, "Only GET and HEAD.\n"
  end
  return 200, page[1], page[2](alacrity.facts())
end

return {
  api = 1,
  kind = "service",
  name = "stats",
  options = {},
  new = function() return setmetatable({}, Stats) end,
}
