#!lua
-- Keep as many invitations out as there are claimable ranges, at most one for each live worker.
-- ARGV: live workers, life of an invitation (ms), now, new slot's name
-- Returns 1 when the new slot was taken and its message should be sent, else 0.
require_epoch()
local now = clock(ARGV[3])
redis.call('ZREMRANGEBYSCORE', 'slots', '-inf', now)
local claimable = 0
for _, priority in ipairs(PRIORITIES) do
  for _, id in ipairs(redis.call('ZRANGE', 'runnable:' .. priority, 0, 31)) do
    claimable = claimable + redis.call('ZCARD', job_key(id) .. ':pending')
  end
end
if redis.call('ZCARD', 'slots') >= math.min(claimable, tonumber(ARGV[1])) then return 0 end
redis.call('ZADD', 'slots', now + tonumber(ARGV[2]), ARGV[4])
return 1
