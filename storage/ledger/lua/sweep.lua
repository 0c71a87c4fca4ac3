#!lua flags=allow-oom
-- Take back the leases of one job that have run out.
-- ARGV: id, most deaths of one range, grace for whoever is sent for (ms), now
-- Returns {ranges taken back, status, what is stuck: 'plan' | 'finalize' | ''}.
require_epoch()
local id, most = ARGV[1], tonumber(ARGV[2])
local grace = tonumber(ARGV[3])
local now = clock(ARGV[4])
local job = job_key(id)
local status = field(id, 'status')
if status == '' or ended(status) then
  redis.call('SREM', 'active', id)
  return {0, status, ''}
end
local decided = field(id, 'outcome') ~= ''
local expired = redis.call('ZRANGEBYSCORE', job .. ':expiry', '-inf', now, 'LIMIT', 0, 500)
for _, range in ipairs(expired) do
  end_lease(id, range, redis.call('HGET', job .. ':leases', range) or '')
  if not decided then
    if tonumber(redis.call('HGET', job .. ':attempts', range) or 0) >= most then
      decide(id, 'failed', 'finalizing', cjson.encode({
        code = 'worker_lost',
        message = 'workers died ' .. most .. ' times on rows ' .. range,
      }))
      decided = true
    else
      add_pending(id, range, now)
    end
  end
end
if #expired > 0 then touch(id) end
if not decided then try_finalize(id) end
status = field(id, 'status')
local stuck = ''
-- Whoever held the role is out; whoever is sent for now has a while to come before another is.
local function lapsed(name)
  if tonumber(redis.call('HGET', job, name .. '_until') or 0) > now then return false end
  redis.call('HDEL', job, name)
  redis.call('HSET', job, name .. '_until', now + grace)
  return true
end
if status == 'finalizing' or status == 'cancelling' then
  if lapsed('finalizer') then stuck = 'finalize' end
elseif field(id, 'sealed') ~= '1' and lapsed('planner') then
  stuck = 'plan'
elseif redis.call('ZCARD', job .. ':pending') > 0 then
  runnable(id, now)
end
return {#expired, status, stuck}
