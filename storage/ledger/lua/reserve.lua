#!lua
-- Make room for a job within its tenant's quotas, before anything of it is written. Room that is not used by a
-- submission or a retry lapses.
-- ARGV: job id, tenant, rows that will be computed ('' = not known yet), 'submit' | 'retry', life of the room (ms), now
-- Returns {now (ms), ''}, or {now, the quota that is used up, how much of it is used, the quota}. A job that is known
-- (or, of a retry, unfinished) needs no room: the call is a repeated one.
require_epoch()
local id, tenant = ARGV[1], ARGV[2]
local now = clock(ARGV[6])
local unfinished, reserved = 'tenant:' .. tenant .. ':unfinished', 'tenant:' .. tenant .. ':reserved'
if redis.call('SISMEMBER', unfinished, id) == 1 then return {now, ''} end
if ARGV[4] == 'submit' and redis.call('EXISTS', job_key(id)) == 1 then return {now, ''} end

local jobs = redis.call('SCARD', unfinished)
local rows = tonumber(redis.call('HGET', 'tenant:' .. tenant .. ':rows', 'all') or 0)
local entries = redis.call('HGETALL', reserved)
for i = 1, #entries, 2 do
  local count, lapses = string.match(entries[i + 1], '(%d+) (%d+)')
  if tonumber(lapses) <= now then
    redis.call('HDEL', reserved, entries[i])
  elseif entries[i] ~= id then
    jobs, rows = jobs + 1, rows + tonumber(count)
  end
end

if used_up(tenant, now) then
  local ms = tonumber(redis.call('HGET', usage_key(tenant, now), 'device_ms'))
  return {now, 'device_seconds_per_day', math.floor(ms / 1000), limit_of(tenant, 'device_seconds_per_day')}
end
local limit = limit_of(tenant, 'jobs_unfinished')
if limit and jobs + 1 > limit then return {now, 'jobs_unfinished', jobs, limit} end
limit = limit_of(tenant, 'rows_queued')
-- Of an input that nobody has counted yet one row is sure.
if limit and rows + math.max(1, tonumber(ARGV[3]) or 1) > limit then return {now, 'rows_queued', rows, limit} end
limit = limit_of(tenant, 'bytes_stored')
local bytes = tonumber(redis.call('HGET', 'tenant:' .. tenant .. ':stored', 'bytes') or 0)
if limit and bytes >= limit then return {now, 'bytes_stored', bytes, limit} end

redis.call('HSET', reserved, id, (tonumber(ARGV[3]) or 1) .. ' ' .. (now + tonumber(ARGV[5])))
return {now, ''}
