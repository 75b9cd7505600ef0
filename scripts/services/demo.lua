-- Demo: a backend to balance over when there is none at hand. Says its name and counts.

return {
  api = 1,
  kind = "service",
  name = "demo",
  options = { name = { type = "string", default = "demo" } },
  new = function(cfg)
    local requests = 0
    return {
      serve = function(self, req)
        if req.path ~= "/" then return 404, "text/plain", "only / is here\n" end
        requests = requests + 1
        return 200, "text/plain; charset=utf-8",
          ("hello from %s, request number %d\n"):format(cfg.name, requests)
      end,
    }
  end,
}
