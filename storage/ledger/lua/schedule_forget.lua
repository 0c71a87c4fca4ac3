#!lua flags=allow-oom
-- Forget a schedule that was deleted.
-- ARGV: tenant, id
-- Returns 1, or 0 when it was not known.
require_epoch()
local tenant, id = ARGV[1], ARGV[2]
local member = tenant .. '/' .. id
redis.call('ZREM', 'schedules', member)
redis.call('HDEL', 'schedules.leases', member)
redis.call('HDEL', 'schedules.late', member)
return redis.call('HDEL', 'tenant:' .. tenant .. ':schedules', id)
