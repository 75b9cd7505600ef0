---@meta alacrity.format

--- # Format
---
--- `local format = require "alacrity.format"`: text for people and machines. Pure functions.

--- The module.
---
--- In: everywhere
---@class alacrity.format
local format = {}

--- JSON of strings, numbers (NaN and infinities are null), booleans, lists and tables, with sorted
--- keys. Functions, userdata and cycles are errors. A long text is better written into a list, in
--- pieces, which is returned then; if the list has a function `pause`, that is called now and then:
--- it can `net.sleep(0)`, so that others get their turn.
---
--- ```lua
--- format.json({ name = "a", tags = format.array({}) }) --> {"name":"a","tags":[]}
--- ```
---@param value any
---@param list? table
---@return string|table
function format.json(value, list) end

--- Marks a table as a JSON list, so that an empty one reads `[]` and not `{}`.
---@param list any[]
---@return any[] list the same table
function format.array(list) end

--- A metatable that makes `format.json` write exactly these keys of a table, in this order. Make it
--- once.
---
--- ```lua
--- local row = format.order { "name", "weight" }
--- format.json(setmetatable({ weight = 3, name = "a" }, row)) --> {"name":"a","weight":3}
--- ```
---@param keys string[]
---@return table metatable
function format.order(keys) end

--- Any bytes as valid UTF-8: what is not becomes U+FFFD.
---@param text string
---@return string
function format.utf8(text) end

--- Safe as HTML text and inside a quoted attribute. nil is `""`.
---@param value any
---@return string
function format.html(value) end

--- One field of a CSV line: valid UTF-8, quoted only where it must be. nil is the empty field.
---@param value any
---@return string
function format.csv(value) end

--- The value of a Prometheus label, to stand between double quotes.
---@param value any
---@return string
function format.label(value) end

--- A Prometheus sample value.
---@param number number
---@return string
function format.sample(number) end

--- For people: `950`, `9 500`, `12.3 k`, `4.56 M`.
---@param number number not negative
---@return string
function format.count(number) end

--- For people: `512 B`, `1.50 KiB`, `23.4 MiB`.
---@param number number not negative
---@return string
function format.bytes(number) end

--- For people, the two largest units that matter: `0.4 ms`, `12 s`, `5 min 3 s`, `3 d 4 h`.
---@param ms number milliseconds, not negative
---@return string
function format.duration(ms) end

return format
