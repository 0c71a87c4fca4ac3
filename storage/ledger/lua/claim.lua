#!lua
-- Lease the first pending range of a job. The same token gets the same lease again.
-- ARGV: id, token, lease (ms), now
-- Returns {range, its deaths so far, the planned range whose shard holds it, the job's generation, the planned range
-- that the worker will most likely get next or ''}, or {} when there is none.
require_epoch()
local id, token = ARGV[1], ARGV[2]
local now = clock(ARGV[4])
local until_ms = now + tonumber(ARGV[3])
local job = job_key(id)
-- Each of the job's leases is most likely followed by another, in turn: by this worker's own next one too. Of those
-- leases one is the new one and one, most of the time, of the range that this worker commits just now.
local function following()
  local pending = redis.call('ZCARD', job .. ':pending')
  if pending == 0 then return '' end
  local others = math.max(redis.call('ZCARD', job .. ':expiry') - 2, 0)
  local place = math.min(others, pending - 1)
  return origin_of(id, redis.call('ZRANGE', job .. ':pending', place, place)[1])
end
local function answer(range)
  local deaths = tonumber(redis.call('HGET', job .. ':attempts', range) or 1) - 1
  local generation = tonumber(redis.call('HGET', job, 'attempts') or 1)
  return {range, deaths, origin_of(id, range), generation, following()}
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
