local test = require "alacrity.test"

-- Reads one request, and answers it.
local function answering(answer, request)
  return function(conversation)
    local lines = {}
    repeat
      local line = test.ok(conversation:receive_line())
      lines[#lines + 1] = line
    until line == ""
    if request then test.equal(lines, request) end
    conversation:send(answer)
  end
end

test.case("asks as it was told to", function()
  local check = test.check("http", { method = "HEAD", path = "/ready?deep", host = "app" })
  local request = { "HEAD /ready?deep HTTP/1.1", "Host: app", "User-Agent: alacrity",
    "Connection: close", "" }
  local answer = "HTTP/1.1 204 No Content\r\n\r\n"
  test.equal({ check:run { server = answering(answer, request) } }, { "up", "status 204" })
end)

test.case("says the backend's address when no host is given", function()
  local check = test.check "http"
  local request = { "GET / HTTP/1.1", "Host: 192.0.2.9:8080", "User-Agent: alacrity",
    "Connection: close", "" }
  test.equal(check:run {
    backend = { name = "b", address = "192.0.2.9:8080" },
    server = answering("HTTP/1.0 200 OK\r\n\r\n", request),
  }, "up")
end)

test.case("statuses it expects", function()
  local check = test.check("http", { expect = { "200", "300-302" } })
  local function with(status) return { server = answering("HTTP/1.1 " .. status .. "\r\n\r\n") } end
  test.equal(check:run(with "200 OK"), "up")
  test.equal(check:run(with "301 Moved"), "up")
  test.equal({ check:run(with "303 See") }, { "down", "status 303" })
  test.equal({ check:run(with "503 No") }, { "down", "status 503" })
end)

test.case("a text in the body", function()
  local check = test.check("http", { match = "ready" })
  local function with(head, body)
    return { server = answering("HTTP/1.1 200 OK\r\n" .. head .. "\r\n\r\n" .. body) }
  end
  test.equal(check:run(with("A: b", "I am ready.")), "up")
  test.equal({ check:run(with("A: ready", "not yet")) },
    { "down", "status 200, but the body does not match" })
end)

test.case("what is no HTTP", function()
  local check = test.check "http"
  test.equal({ check:run { server = answering "SSH-2.0-x\r\n" } }, { "down", "not an HTTP answer" })
  test.equal(check:run { server = answering(test.garbage(100000)) }, "down")
  test.equal({ check:run { server = answering "" } }, { "down", "closed" })
  test.equal({ check:run { server = answering "HTTP/1.1 200 O" } }, { "down", "closed" })
end)

test.case("a drip is too slow for the timeout", function()
  local drip = test.drip("HTTP/1.1 200 OK\r\n", 0.2)
  local check = test.check "http"
  test.equal({ check:run { server = drip, timeout = 2 } }, { "down", "timeout" })
  test.equal(check:run { server = drip, timeout = 5 }, "up")
end)

test.case("options that make no sense", function()
  test.error(function() test.check("http", { expect = { "2000" } }) end, "is no status")
  test.error(function() test.check("http", { path = "/a b" }) end, "no spaces")
  test.error(function() test.check("http", { paht = "/" }) end, "did you mean 'path'?")
end)
