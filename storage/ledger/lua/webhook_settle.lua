#!lua flags=allow-oom
-- End an attempt, whose outcome lies in the store.
-- ARGV: token, tenant, id of the delivery, pause until the next attempt (ms; '' = there is to be none), now
-- Returns 1, or 0 when the token's lease had ended: another attempt decides then.
require_epoch()
local token, tenant, id = ARGV[1], ARGV[2], ARGV[3]
local now = clock(ARGV[5])
local queue = 'webhooks:' .. tenant
if redis.call('HGET', 'webhooks.leases', token) ~= tenant .. '/' .. id then return 0 end
redis.call('HDEL', 'webhooks.leases', token)
if ARGV[4] == '' then
  redis.call('ZREM', queue, id)
else
  redis.call('ZADD', queue, now + tonumber(ARGV[4]), id)
end
deliveries_moved(tenant, now)
return 1
