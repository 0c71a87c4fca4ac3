#!lua
-- Keep as many invitations out as there are claimable ranges, at most one for each idle worker. One that lapses was
-- lost, or came to a worker that is dead: the next ones are given more and more time.
-- ARGV: class of worker, idle workers, life of an invitation (ms), longest life (ms), new slot's name, now
-- Returns the priority whose queue should get the new slot's message, or '' when none is wanted.
require_epoch()
local class = ARGV[1]
local slots, lapsed = 'slots:' .. class, 'lapsed:' .. class
local now = clock(ARGV[6])
if redis.call('ZREMRANGEBYSCORE', slots, '-inf', now) > 0 then redis.call('INCR', lapsed) end
local idle = tonumber(ARGV[2])

-- Claimable ranges, counted only as far as there are idle workers for them, and the first priority that has one.
local function count()
  local claimable, first = 0, ''
  for _, priority in ipairs(PRIORITIES) do
    local queue = 'runnable:' .. priority
    for _, tenant in ipairs(first_tenants(queue, 16, now)) do
      for _, id in ipairs(redis.call('ZRANGE', queue .. ':' .. tenant, 0, 15)) do
        if tonumber(redis.call('HGET', job_key(id), 'not_before') or 0) <= now then
          claimable = claimable + redis.call('ZCARD', job_key(id) .. ':pending')
          if first == '' and claimable > 0 then first = priority end
          if claimable > 0 and claimable >= idle then return claimable, first end
        end
      end
    end
  end
  return claimable, first
end

local claimable, first = count()
if claimable == 0 then
  redis.call('DEL', lapsed)
  return ''
end
if redis.call('ZCARD', slots) >= math.min(claimable, idle) then return '' end
local times = math.min(tonumber(redis.call('GET', lapsed) or 0), 10)
local life = math.min(tonumber(ARGV[4]), tonumber(ARGV[3]) * 2 ^ times)
redis.call('ZADD', slots, now + life, ARGV[5])
return first
