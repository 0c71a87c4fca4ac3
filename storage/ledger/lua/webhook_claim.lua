#!lua flags=allow-oom
-- Take one delivery that is due, for one attempt. Tenants take turns, and none has more than its share under way.
-- ARGV: token, lease (ms), most attempts of one tenant at once, now
-- Returns {tenant, id of the delivery}, or {} when none is due; the same token gets the same one again.
require_epoch()
local token, lease, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local now = clock(ARGV[4])
local flying = {}
local taken = redis.call('HGETALL', 'webhooks.leases')
for i = 1, #taken, 2 do
  local tenant, id = string.match(taken[i + 1], '^([^/]+)/(.+)$')
  local ends = tonumber(redis.call('ZSCORE', 'webhooks:' .. tenant, id) or 0)
  if taken[i] == token and ends > now then return {tenant, id} end
  if ends > now then
    flying[tenant] = (flying[tenant] or 0) + 1
  else
    redis.call('HDEL', 'webhooks.leases', taken[i])
  end
end
for _, tenant in ipairs(redis.call('ZRANGEBYSCORE', 'webhooks', '-inf', now, 'LIMIT', 0, 1000)) do
  local queue = 'webhooks:' .. tenant
  local id = redis.call('ZRANGEBYSCORE', queue, '-inf', now, 'LIMIT', 0, 1)[1]
  if id and (flying[tenant] or 0) < most then
    redis.call('ZADD', queue, now + lease, id)
    redis.call('HSET', 'webhooks.leases', token, tenant .. '/' .. id)
    deliveries_moved(tenant, now)
    return {tenant, id}
  end
  if not id then deliveries_moved(tenant, now) end
end
return {}
