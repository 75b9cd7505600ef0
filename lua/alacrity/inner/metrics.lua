-- alacrity.counter, gauge and histogram: what scripts count (core/pool/metrics.h). A part of the
-- prelude, as shared.lua beside it.
--
-- An object is a number in a constant field; C keeps the values, in the row of this state's thread.
local alacrity, host = ...
local ffi = host.ffi
local type, error, istype, new = type, error, ffi.istype, ffi.new
local huge = math.huge

ffi.cdef [[
struct alacrity_counter { const uint32_t id; };
struct alacrity_gauge { const uint32_t id; };
struct alacrity_histogram { const uint32_t id; };
]]
local counter_t = ffi.typeof "struct alacrity_counter"
local gauge_t = ffi.typeof "struct alacrity_gauge"
local histogram_t = ffi.typeof "struct alacrity_histogram"
local library = ffi.cast("const struct alacrity_library *", host.library)
local natives = ffi.cast("const struct alacrity_metric_natives *", host.metrics)
local native_add, native_set, native_observe = natives.add, natives.set, natives.observe
local open = host.open_metric -- (kind, name, help, labels, buckets) -> id or nil, what is wrong

local BUILDING = 0

local function check_stage()
  if library.stage == BUILDING then
    error("a script counts only when it serves, not when it is loaded or constructed", 3)
  end
end

local counter, gauge, histogram = {}, {}, {}

--- counter:add(n): n (1) more; never less.
function counter.add(self, n)
  if not istype(counter_t, self) then error("write counter:add(n), with a colon", 2) end
  check_stage()
  if n == nil then n = 1 end
  if not (type(n) == "number" and n >= 0 and n < huge) then
    error("counter:add(n) takes a number that is not negative", 2)
  end
  native_add(library, self.id, n)
end

--- gauge:set(v): what is so now, on this thread; the sum over all threads is shown.
function gauge.set(self, value)
  if not istype(gauge_t, self) then error("write gauge:set(value), with a colon", 2) end
  check_stage()
  if not (type(value) == "number" and value == value) then
    error("gauge:set(value) takes a number, and not NaN", 2)
  end
  native_set(library, self.id, value)
end

--- gauge:add(n): n (1) more, or less.
function gauge.add(self, n)
  if not istype(gauge_t, self) then error("write gauge:add(n), with a colon", 2) end
  check_stage()
  if n == nil then n = 1 end
  if not (type(n) == "number" and n > -huge and n < huge) then
    error("gauge:add(n) takes a number", 2)
  end
  native_add(library, self.id, n)
end

--- histogram:observe(v): one more value, which falls into its bucket.
function histogram.observe(self, value)
  if not istype(histogram_t, self) then error("write histogram:observe(value), with a colon", 2) end
  check_stage()
  if not (type(value) == "number" and value > -huge and value < huge) then
    error("histogram:observe(value) takes a number", 2)
  end
  native_observe(library, self.id, value)
end

local function make(ctype, methods, name)
  ffi.metatype(ctype, {
    __index = methods,
    __tostring = function() return name end,
    __metatable = false,
  })
end
make(counter_t, counter, "counter")
make(gauge_t, gauge, "gauge")
make(histogram_t, histogram, "histogram")

local function opened(ctype, kind, name, help, labels, buckets)
  local id, fault = open(kind, name, help, labels, buckets)
  if not id then error("alacrity." .. kind .. "(): " .. fault, 3) end
  return new(ctype, id)
end

--- A counter; shown as alacrity_script_NAME_total. `labels` ({name = value}, at most 4) tell series
--- of one name apart. To be made at the top of the script or in `new`; the same name and labels are
--- the same counter, also after a reload and in another script.
function alacrity.counter(name, help, labels)
  return (opened(counter_t, "counter", name, help, labels))
end

--- A gauge; shown as alacrity_script_NAME.
function alacrity.gauge(name, help, labels)
  return (opened(gauge_t, "gauge", name, help, labels))
end

--- A histogram; `buckets` are upper bounds, ascending, at most 30.
function alacrity.histogram(name, buckets, help, labels)
  return (opened(histogram_t, "histogram", name, help, labels, buckets))
end
