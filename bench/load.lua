-- What wrk sends, and what it makes of the answers. Arguments: single | ndjson | array | BODY [ACKNOWLEDGED [KEY]]
--   single   one event a request, each with another number and another trace
--   ndjson   batches of 1,000 events, as lines
--   array    batches of 1,000 events, as JSON array
--   BODY     the content of that file, as lines, the same with each request
-- Events have no identity: giving one is the gateway's work. To the file ACKNOWLEDGED, the ids that were acknowledged are
-- written, a line each, if it has a name; that costs the client something, so what is measured is measured without it.

local BATCH = 1000
local EVENT = '{"serviceName":"checkout","level":"INFO","message":"order accepted after retry","correlationId":"%012x","attributes":{"n":%d}}'
local HEAD = "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s\r\n%s"

local path, types = nil, { single = "application/json", array = "application/json" }
local number, form, ready, file, shown = 10000000, nil, nil, nil, ""

local function event()
  number = number + 1
  -- Neighbours go to unlike partitions; the product stays below 2^53, where doubles are exact.
  return string.format(EVENT, (number * 40503077) % 281474976710656, number)
end

local function batch()
  local events = {}
  for i = 1, BATCH do events[i] = event() end
  if form == "array" then return "[" .. table.concat(events, ",") .. "]" end
  return table.concat(events, "\n") .. "\n"
end

local function whole(body) return string.format(HEAD, path, types[form] or "application/x-ndjson", #body, shown, body) end

function init(args)
  form, path = args[1], wrk.path
  if args[3] and args[3] ~= "" then shown = "Authorization: Bearer " .. args[3] .. "\r\n" end
  if args[2] and args[2] ~= "" then
    file = io.open(args[2], "w")
    file:setvbuf("line")
    response = function(status, _, body)
      if status == 202 then
        for id in body:gmatch('"eventId":"([^"]+)"') do file:write(id, "\n") end
      end
    end
  end
  -- A batch is made once: making one takes wrk longer than it takes the gateway.
  if form == "ndjson" or form == "array" then
    ready = whole(batch())
  elseif form ~= "single" then
    ready = whole(assert(io.open(form)):read("*a"))
  end
end

function request() return ready or whole(event()) end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"seconds":%f,"refused":%d,"broken":%d,"p50_ms":%f,"p99_ms":%f}\n',
    summary.requests, summary.duration / 1e6, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
