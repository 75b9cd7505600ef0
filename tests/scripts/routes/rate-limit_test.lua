local test = require "alacrity.test"
local route = test.route("rate-limit", { rate = 2, per = "10s", burst = 3 })

local function passed(client, times, listener)
  local count = 0
  for _ = 1, times do
    local pool, word, why = route:run { client = client, listener = listener }
    if word == "default" then
      count = count + 1
    else
      test.equal({ pool, word, why }, { nil, "rejected", "rate limit" })
    end
  end
  return count
end

test.case("a burst, then at the rate", function()
  test.equal(passed("192.0.2.1", 10), 3)
  test.advance(4.9)
  test.equal(passed("192.0.2.1", 10), 0)
  test.advance(0.2)
  test.equal(passed("192.0.2.1", 10), 1)
  for _ = 1, 20 do
    test.advance(5)
    test.equal(passed("192.0.2.1", 10), 1)
  end
end)

test.case("each address and listener for itself", function()
  test.equal(passed("192.0.2.2", 10), 3)
  test.equal(passed("2001:db8::1", 10), 3)
  test.equal(passed("192.0.2.2", 10, "other"), 3)
end)

test.case("who was away long enough may burst again, not more", function()
  test.equal(passed("192.0.2.3", 10), 3)
  test.advance(14.9)
  test.equal(passed("192.0.2.3", 10), 2)
  test.advance(3600)
  test.equal(passed("192.0.2.3", 10), 3)
end)
