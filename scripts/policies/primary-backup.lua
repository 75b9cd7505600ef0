-- Primary and backup: backends tagged `backup` get sessions only while fewer than `least` of the
-- others are up. The way back is slow on purpose: a primary that was away counts again only when it
-- has been well for `hold`, so that one that comes and goes does not pull the sessions to and fro.
-- Never both groups at once, except for a session that finds nobody left in its group.
-- Use it for a second site, or a database's standby. For plain reserves in a fixed order: first.
--
-- It remembers nothing: since when a backend is well is a fact, so all workers agree, and a reload
-- changes nothing. It goes by what is up, not by what one session has left: a retry turns nothing.
local now = require("alacrity").now
local huge, min = math.huge, math.min

local function new(cfg)
  local tag, hold = cfg.tag, cfg.hold / 1000

  local function look(self, pool)
    local time, well = now(), 0
    self.generation, self.again = pool.generation, huge
    for i = 1, #pool.all do
      local b = pool.all[i]
      local up = b.weight > 0 and (b.state == "up" or b.state == "starting")
      if up and not b:has_tag(tag) then
        if b.recovered_at == 0 or time - b.recovered_at >= hold then
          well = well + 1
        else
          self.again = min(self.again, b.recovered_at + hold) -- when it may be
        end
      end
    end
    self.on_backup = well < cfg.least
  end

  return {
    pick = function(self, ctx, pool)
      if self.generation ~= pool.generation or self.again < huge and now() >= self.again then
        look(self, pool)
      end
      local primaries, backups = pool:untagged(tag), pool:tagged(tag)
      if self.on_backup then return backups:least() or primaries:least() end
      return primaries:least() or backups:least()
    end,
  }
end

return {
  api = 1,
  kind = "policy",
  name = "primary-backup",
  options = {
    tag = { type = "string", default = "backup", help = "of the backups; the others are primaries" },
    least = { type = "integer", default = 1, min = 1, help = "primaries that are enough" },
    hold = { type = "duration", default = 30000, help = "how long one must be well to count again" },
  },
  new = new,
}
