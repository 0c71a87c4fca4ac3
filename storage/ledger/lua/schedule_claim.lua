#!lua flags=allow-oom
-- Take the schedule whose turn came first, to look at it.
-- ARGV: token, lease (ms), now
-- Returns {tenant, id}, or {} when no turn has come.
require_epoch()
local now = clock(ARGV[3])
local member = redis.call('ZRANGEBYSCORE', 'schedules', '-inf', now, 'LIMIT', 0, 1)[1]
if not member then return {} end
redis.call('ZADD', 'schedules', now + tonumber(ARGV[2]), member)
redis.call('HSET', 'schedules.leases', member, ARGV[1])
return {string.match(member, '^([^/]+)/(.+)$')}
