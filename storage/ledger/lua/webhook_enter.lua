#!lua flags=allow-oom
-- Say that a delivery, whose record lies in the store, is to be attempted.
-- ARGV: restorer's token ('' where nothing is restored), tenant, id of the delivery, '1' = now, although a later time
--       may be known already, now
-- Returns 1, or 0 when nothing was changed: its time is known, or an attempt is under way.
require_restorer(ARGV[1])
local tenant, id = ARGV[2], ARGV[3]
local now = clock(ARGV[5])
local queue = 'webhooks:' .. tenant
local known = redis.call('ZSCORE', queue, id)
if not known then return deliver(tenant, id, now) end
if ARGV[4] ~= '1' or tonumber(known) <= now then return 0 end
for _, member in ipairs(redis.call('HVALS', 'webhooks.leases')) do
  if member == tenant .. '/' .. id then return 0 end
end
redis.call('ZREM', queue, id)
return deliver(tenant, id, now)
