-- alacrity.every, after and spawn: what a script does later (lua/timers.c). A part of the prelude,
-- as shared.lua beside it.
local alacrity, host = ...
local error = error
local open, cancel = host.open_timer, host.cancel_timer

--- Calls `what()` again and again, `seconds` (at least 0.01) after the call before has ended; the
--- first time after as long. Answers a function that ends it. To be called in `new`, or later; a
--- timer ends with the instance that made it.
function alacrity.every(seconds, what)
  local id, fault = open(seconds, what, true)
  if not id then error("alacrity.every(): " .. fault, 2) end
  return function() cancel(id) end
end

--- Calls `what()` once, after `seconds`. Answers a function that makes it not happen.
function alacrity.after(seconds, what)
  local id, fault = open(seconds, what, false)
  if not id then error("alacrity.after(): " .. fault, 2) end
  return function() cancel(id) end
end

--- Calls `what()` soon, beside what runs now. On control it is a coroutine of its own, which may use
--- alacrity.net for as long as it likes.
function alacrity.spawn(what)
  local id, fault = open(0, what, false)
  if not id then error("alacrity.spawn(): " .. fault, 2) end
end
