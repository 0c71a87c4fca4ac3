#!lua flags=allow-oom
-- Look after one job: take back leases that have run out, end it when its window has passed, see what is stuck.
-- A range whose worker died is cut around what that worker had in hand, until the guilty row is alone.
-- ARGV: id, lease (ms), grace for whoever is sent for (ms), now
-- Returns {ranges taken back, status, what is stuck: 'plan' | 'finalize' | '', lane}.
require_epoch()
local id, lease = ARGV[1], tonumber(ARGV[2])
local grace = tonumber(ARGV[3])
local now = clock(ARGV[4])
local job = job_key(id)
local status = field(id, 'status')
if status == '' or ended(status) then
  cease(id)
  return {0, status, '', ''}
end
-- Whoever was restoring the job is dead, or too slow: what it has not entered will be planned.
if tonumber(redis.call('HGET', job, 'planner_until') or 0) <= now then redis.call('HDEL', job, 'restoring') end
local expires = tonumber(redis.call('HGET', job, 'expires_at') or 0)
-- While a job is being restored it may yet turn out that it was cancelled.
if expires > 0 and expires <= now and field(id, 'outcome') == '' and field(id, 'restoring') == ''
    and (status == 'validating' or status == 'in_progress') then
  decide(id, 'expired', '')
end
local decided = field(id, 'outcome') ~= ''

local function bury(range)
  local hand = redis.call('HGET', job .. ':hands', range)
  end_lease(id, range, redis.call('HGET', job .. ':leases', range) or '')
  if decided then return end
  local deaths = tonumber(redis.call('HGET', job .. ':attempts', range) or 0)
  local start, stop = bounds(range)
  local first, last = start, stop
  if hand then
    first, last = bounds(hand)
  elseif deaths > 2 and stop - start > 1 then
    -- Not even a first batch was reached, again and again: by halves then.
    last = math.floor((start + stop) / 2)
  end
  if first == start and last == stop then
    add_pending(id, range, now)
    return
  end
  redis.call('HSET', job .. ':ranges', range, 's')
  redis.call('HDEL', job .. ':attempts', range)
  add_piece(id, range, start, first, now)
  add_piece(id, range, last, stop, now)
  -- Whoever was in hand carries the death along; as a lone row it is its first.
  local guilty = string.format('%012d-%012d', first, last)
  redis.call('HSET', job .. ':attempts', guilty, 1)
  add_piece(id, range, first, last, now)
  redis.call('HDEL', job .. ':origins', range)
end

-- Leases may look run out only because the server was away: all get their time again first.
local watch = redis.call('HGET', 'ledger:watch', 'since')
local expired = {}
if watch and now - tonumber(watch) >= lease then
  expired = redis.call('ZRANGEBYSCORE', job .. ':expiry', '-inf', now, 'LIMIT', 0, 500)
end
for _, range in ipairs(expired) do bury(range) end
if #expired > 0 then touch(id) end
if not decided then try_finalize(id) end
-- Whoever asks after a job that nobody works at today is told why.
local why = 'the device-seconds of the tenant are used up for today; it goes on at 00:00 UTC'
local passed = status == 'in_progress' and redis.call('ZCARD', job .. ':pending') > 0 and used_up(field(id, 'tenant'), now)
if passed ~= (field(id, 'waiting') == why) then
  if passed then redis.call('HSET', job, 'waiting', why) else redis.call('HDEL', job, 'waiting') end
  touch(id)
end
begin(id)
status = field(id, 'status')
local stuck = ''
-- Whoever held the role is out; whoever is sent for now has a while to come before another is.
local function lapsed(name)
  if tonumber(redis.call('HGET', job, name .. '_until') or 0) > now then return false end
  redis.call('HDEL', job, name)
  redis.call('HSET', job, name .. '_until', now + grace)
  return true
end
if may_plan(id) then
  if lapsed('planner') then stuck = 'plan' end
  if redis.call('ZCARD', job .. ':pending') > 0 and not decided then runnable(id, now) end
elseif status == 'finalizing' or status == 'cancelling' then
  if lapsed('finalizer') then stuck = 'finalize' end
elseif redis.call('ZCARD', job .. ':pending') > 0 then
  runnable(id, now)
end
return {#expired, status, stuck, field(id, 'lane')}
