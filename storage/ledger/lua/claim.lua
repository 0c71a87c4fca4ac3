#!lua
-- Lease the first pending range of a job. The same token gets the same lease again.
-- ARGV: id, token, lease (ms), now
-- Returns the range, or '' when there is none.
require_epoch()
local id, token = ARGV[1], ARGV[2]
local now = clock(ARGV[4])
local until_ms = now + tonumber(ARGV[3])
local job = job_key(id)
local again = redis.call('HGET', job .. ':tokens', token)
if again then
  redis.call('ZADD', job .. ':expiry', until_ms, again)
  return again
end
if field(id, 'status') ~= 'in_progress' then
  not_runnable(id)
  return ''
end
local first = redis.call('ZPOPMIN', job .. ':pending')
local range = first[1]
if not range then
  not_runnable(id)
  return ''
end
redis.call('HSET', job .. ':ranges', range, 'l')
redis.call('HSET', job .. ':leases', range, token)
redis.call('ZADD', job .. ':expiry', until_ms, range)
redis.call('HSET', job .. ':tokens', token, range)
redis.call('HINCRBY', job .. ':attempts', range, 1)
redis.call('HSET', job, 'waiting_since', now)
if field(id, 'started_at') == '' then redis.call('HSET', job, 'started_at', now) end
if redis.call('ZCARD', job .. ':pending') == 0 then
  not_runnable(id)
else
  redis.call('ZINCRBY', 'runnable:' .. field(id, 'priority'), 1, id)
end
touch(id)
return range
