#!lua
-- Lease the first pending range of a job. The same token gets the same lease again.
-- ARGV: id, token, lease (ms), now
-- Returns {range, its deaths so far, the planned range whose shard holds it, the job's generation}, or {} when there
-- is none.
require_epoch()
local id, token = ARGV[1], ARGV[2]
local now = clock(ARGV[4])
local until_ms = now + tonumber(ARGV[3])
local job = job_key(id)
local function answer(range)
  local deaths = tonumber(redis.call('HGET', job .. ':attempts', range) or 1) - 1
  return {range, deaths, origin_of(id, range), tonumber(redis.call('HGET', job, 'attempts') or 1)}
end
local again = redis.call('HGET', job .. ':tokens', token)
if again then
  redis.call('ZADD', job .. ':expiry', until_ms, again)
  return answer(again)
end
if field(id, 'status') ~= 'in_progress' then
  not_runnable(id)
  return {}
end
local first = redis.call('ZPOPMIN', job .. ':pending')
local range = first[1]
if not range then
  not_runnable(id)
  return {}
end
redis.call('HSET', job .. ':ranges', range, 'l')
redis.call('HSET', job .. ':leases', range, token)
redis.call('ZADD', job .. ':expiry', until_ms, range)
redis.call('HSET', job .. ':tokens', token, range)
redis.call('HINCRBY', job .. ':attempts', range, 1)
if field(id, 'started_at') == '' then redis.call('HSET', job, 'started_at', now) end
redis.call('HDEL', job, 'deferrals', 'not_before', 'openings', 'waiting', 'yield_until')
served(id, now)
if redis.call('ZCARD', job .. ':pending') == 0 then not_runnable(id) end
touch(id)
return answer(range)
