#!lua flags=allow-oom
-- Say when a schedule is to be looked at again.
-- ARGV: token, tenant, id, when (ms; '' = not before somebody changes it), since when it is late (ms; '' = it is not), now
-- Returns 1, or 0 when the token's lease is over: somebody else looks at it, or it was changed.
require_epoch()
local member = ARGV[2] .. '/' .. ARGV[3]
if redis.call('HGET', 'schedules.leases', member) ~= ARGV[1] then return 0 end
redis.call('HDEL', 'schedules.leases', member)
if ARGV[4] == '' then
  redis.call('ZREM', 'schedules', member)
else
  redis.call('ZADD', 'schedules', ARGV[4], member)
end
if ARGV[5] == '' then
  redis.call('HDEL', 'schedules.late', member)
else
  redis.call('HSETNX', 'schedules.late', member, ARGV[5])
end
return 1
