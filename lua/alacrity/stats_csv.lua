-- The facts in the columns of HAProxy 2.6 (/stats;csv), so that collectors written for it work: a
-- FRONTEND row for each listener, then each pool's backends and its BACKEND row. A column for which
-- there is no honest value stays empty.
local format = require "alacrity.format"

local HEADER = "pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,"
  .. "wretr,wredis,status,weight,act,bck,chkfail,chkdown,lastchg,downtime,qlimit,pid,iid,sid,"
  .. "throttle,lbtot,tracked,type,rate,rate_lim,rate_max,check_status,check_code,check_duration,"
  .. "hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,hrsp_other,hanafail,req_rate,req_rate_max,"
  .. "req_tot,cli_abrt,srv_abrt,comp_in,comp_out,comp_byp,comp_rsp,lastsess,last_chk,last_agt,"
  .. "qtime,ctime,rtime,ttime,agent_status,agent_code,agent_duration,check_desc,agent_desc,"
  .. "check_rise,check_fall,check_health,agent_rise,agent_fall,agent_health,addr,cookie,mode,algo,"
  .. "conn_rate,conn_rate_max,conn_tot,intercepted,dcon,dses,wrew,connect,reuse,cache_lookups,"
  .. "cache_hits,srv_icur,src_ilim,qtime_max,ctime_max,rtime_max,ttime_max,eint,idle_conn_cur,"
  .. "safe_conn_cur,used_conn_cur,need_conn_est,uweight,agg_server_status,"
  .. "agg_server_check_status,agg_check_status,-,ssl_sess,ssl_reused_sess,ssl_failed_handshake,"
  .. "h2_headers_rcvd,h2_data_rcvd,h2_settings_rcvd,h2_rst_stream_rcvd,h2_goaway_rcvd,"
  .. "h2_detected_conn_protocol_errors,h2_detected_strm_protocol_errors,h2_rst_stream_resp,"
  .. "h2_goaway_resp,h2_open_connections,h2_backend_open_streams,h2_total_connections,"
  .. "h2_backend_total_streams,h1_open_connections,h1_open_streams,h1_total_connections,"
  .. "h1_total_streams,h1_bytes_in,h1_bytes_out,h1_spliced_bytes_in,h1_spliced_bytes_out"

local COLUMNS = {}
for name in HEADER:gmatch "[^,]+" do COLUMNS[#COLUMNS + 1] = name end

local FRONTEND, BACKEND, SERVER = 0, 1, 2 -- the column `type`

-- Their words. Starting takes sessions, suspect does not.
local STATUS = { starting = "UP", up = "UP", suspect = "DOWN", down = "DOWN", drain = "DRAIN",
  maint = "MAINT", gone = "MAINT" }

local function limit(number)
  if number > 0 then return number end -- 0 = none: the column stays empty
end

local function row(out, values)
  local fields = {}
  for i = 1, #COLUMNS do
    local value = values[COLUMNS[i]]
    fields[i] = value == nil and "" or format.csv(value)
  end
  out[#out + 1] = table.concat(fields, ",") .. ",\n" -- HAProxy's end of a line
  out.pause()
end

local function frontend(listener, iid)
  return { pxname = listener.name, svname = "FRONTEND", type = FRONTEND, pid = 1, iid = iid,
    sid = 0, status = "OPEN", mode = "tcp", scur = listener.sessions_active,
    slim = limit(listener.max_sessions), stot = listener.sessions_total,
    conn_tot = listener.sessions_total, dses = listener.ended.limit + listener.ended.rejected,
    bin = listener.bytes_in_total, bout = listener.bytes_out_total }
end

local function server(pool, backend, iid, sid, now_ms)
  local status = STATUS[backend.state]
  if status == "UP" and backend.weight == 0 then status = "DRAIN" end
  return { pxname = pool.name, svname = backend.name, type = SERVER, pid = 1, iid = iid, sid = sid,
    status = status, mode = "tcp", addr = backend.address, weight = backend.weight,
    uweight = backend.weight, act = backend.eligible and 1 or 0, bck = 0,
    scur = backend.active, used_conn_cur = backend.active, slim = limit(backend.max_sessions),
    stot = backend.sessions_total, bin = backend.bytes_in_total, bout = backend.bytes_out_total,
    lbtot = backend.picks_total, econ = backend.connect_failures_total,
    connect = backend.sessions_total + backend.connect_failures_total,
    srv_abrt = backend.resets_total, ctime = math.floor(backend.connect_ms + 0.5),
    chkfail = backend.checks_failed_total, chkdown = backend.downs_total,
    lastchg = backend.changed_ms > 0
      and math.max(0, math.floor((now_ms - backend.changed_ms) / 1000)) or nil,
    last_chk = backend.reason }
end

local function backend_row(pool, sums, iid)
  return { pxname = pool.name, svname = "BACKEND", type = BACKEND, pid = 1, iid = iid, sid = 0,
    status = pool.backends_eligible > 0 and "UP" or "DOWN", mode = "tcp", algo = pool.policy,
    act = pool.backends_eligible, bck = 0, weight = sums.weight, scur = pool.sessions_active,
    stot = pool.sessions_total, bin = pool.bytes_in_total, bout = pool.bytes_out_total,
    lbtot = pool.picks_total, econ = sums.failures, wretr = pool.retries_total,
    srv_abrt = sums.resets }
end

--- `pause` is called now and then, so that others may have their turn.
return function(facts, pause)
  local out, iid = { pause = pause, "# " .. HEADER .. ",\n" }, 0
  for _, listener in ipairs(facts.listeners) do
    iid = iid + 1
    row(out, frontend(listener, iid))
  end
  for _, pool in ipairs(facts.pools) do
    iid = iid + 1
    local sums = { weight = 0, failures = 0, resets = 0 }
    for sid, backend in ipairs(pool.backends) do
      row(out, server(pool, backend, iid, sid, facts.now_ms))
      if backend.eligible then sums.weight = sums.weight + backend.weight end
      sums.failures = sums.failures + backend.connect_failures_total
      sums.resets = sums.resets + backend.resets_total
    end
    row(out, backend_row(pool, sums, iid))
  end
  return out
end
