#!lua flags=allow-oom
-- Say that a schedule, whose revisions lie in the store, is to be looked at now, whatever was known of it.
-- ARGV: restorer's token ('' where nothing is restored), tenant, id, number of its newest revision, now
-- Returns 1, or 0 when a newer revision is known.
require_restorer(ARGV[1])
local tenant, id, number = ARGV[2], ARGV[3], tonumber(ARGV[4])
local now = clock(ARGV[5])
local revisions, member = 'tenant:' .. tenant .. ':schedules', tenant .. '/' .. id
local known = tonumber(redis.call('HGET', revisions, id) or -1)
if known > number then return 0 end
redis.call('HSET', revisions, id, number)
redis.call('ZADD', 'schedules', now, member)
-- Whoever looks at it does so by an older one, and must not say when to look again.
redis.call('HDEL', 'schedules.leases', member)
return 1
