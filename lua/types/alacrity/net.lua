---@meta alacrity.net

--- # Network
---
--- `local net = require "alacrity.net"`, for checks and services (and the servers of tests). A call
--- that has to wait lets the control thread go on meanwhile. All of them work only while a check, a
--- request or a timer runs, and not inside a coroutine of your own or a function that `string.gsub`
--- or `table.sort` calls back: that is an error.
---
--- What goes wrong on the network is an answer, not an error: `nil` and why, one of `timeout`,
--- `closed`, `refused`, `reset`, `too long`, `too many sockets`, `out of memory`, or the system's
--- words. Limits are seconds, up to 86400; 0 or none: only the deadline of the whole run holds.
---
--- A run has at most 16 sockets, each with at most 1 MiB buffered; all are closed when it ends.

--- The module.
---
--- In: checks, services, tests
---@class alacrity.net
local net = {}

--- Connects over TCP. Of unix sockets only that of the backend that is checked can be reached. An
--- address that is not numeric is an error.
---
--- ```lua
--- local socket, why = net.connect(backend, { timeout = 0.5 })
--- if not socket then return "down", why end
--- ```
---@param target alacrity.Backend|string the backend that is checked (which one is not looked at), or an address such as `127.0.0.1:80`
---@param options? alacrity.net.ConnectOptions
---@return alacrity.Socket? socket
---@return string? why
function net.connect(target, options) end

--- Waits.
---@param seconds? number 0
---@return true
function net.sleep(seconds) end

--- Of `net.connect`.
---
--- In: checks, services, tests
---@class alacrity.net.ConnectOptions
--- Seconds until it is given up, with `nil, "timeout"`.
---@field timeout? number

--- A connection. Of use only to the run that opened it.
---
--- In: checks, services, tests
---@class alacrity.Socket
local socket = {}

--- Sends all of it.
---@param bytes string at most 1 MiB
---@param limit? number seconds
---@return true? sent
---@return string? why
function socket:send(bytes, limit) end

--- Exactly so many bytes.
---@param count integer 1 to 1048576
---@param limit? number seconds
---@return string? bytes
---@return string? why
function socket:receive(count, limit) end

--- A line, without its `\n` or `\r\n`.
---@param most? integer bytes, 8192; a longer line is `nil, "too long"`
---@param limit? number seconds
---@return string? line
---@return string? why
function socket:receive_line(most, limit) end

--- All until the peer closes.
---@param most? integer bytes, 1048576; more is `nil, "too long"`
---@param limit? number seconds
---@return string? bytes
---@return string? why
function socket:receive_all(most, limit) end

--- What has come, at least one byte.
---@param most? integer bytes, 65536
---@param limit? number seconds
---@return string? bytes
---@return string? why
function socket:receive_some(most, limit) end

--- Closes it. More calls answer `nil, "closed"`.
function socket:close() end

return net
