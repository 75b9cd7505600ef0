-- The stats service: shows everything the process knows of itself. Each page is a function from the
-- facts to a text, in a library file of its own; docs/stats.md describes them.
-- (/healthz and /livez never come here: the core answers them natively.)
--
-- With ten thousand backends there is much to tell, and control has other things to do meanwhile. So
-- a page is made in turns of a few milliseconds: where it has a loop, it calls pause().
local alacrity = require "alacrity"
local net = require "alacrity.net"

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

local TURN, LOST = 0.002, 1 -- seconds

local Stats = {}
Stats.__index = Stats

-- One page at a time, so that many collectors do not need many times the memory. Whoever had the
-- place and let no turn of its own pass for so long is gone: its client hung up.
function Stats:enter()
  while self.working and alacrity.now() - self.working.since < LOST do net.sleep(TURN) end
  local mine = { since = alacrity.now() }
  self.working = mine
  return mine
end

-- The facts with all backends, of one and the same configuration.
local function gather(pause)
  for _ = 1, 10 do
    local facts, same = alacrity.facts(false), true
    for _, pool in ipairs(facts.pools) do
      local all = pool.backends
      while same and #all < pool.backend_count do
        local part, configuration = alacrity.backends(pool.name, #all + 1)
        same = configuration == facts.configuration
        for i = 1, #part do all[#all + 1] = part[i] end
        pause()
      end
    end
    if same then return facts end
  end
  error "the configuration changed again and again while it was read"
end

function Stats:serve(req)
  local page = pages[(req.path:gsub("%%3[Bb]", ";"))]
  if not page then return 404, TEXT, "Not found. Try / /stats.json /stats;csv /metrics\n" end
  if req.method ~= "GET" and req.method ~= "HEAD" then
    return 405, TEXT, "Only GET and HEAD.\n"
  end
  local mine = self:enter()
  local function pause()
    if alacrity.now() - mine.since < TURN then return end
    net.sleep(0)
    mine.since, self.working = alacrity.now(), mine
  end
  local body = page[2](gather(pause), pause)
  self.working = nil
  return 200, page[1], body
end

return {
  api = 1,
  kind = "service",
  name = "stats",
  options = {},
  new = function() return setmetatable({}, Stats) end,
}
