#!lua flags=allow-oom
-- Count what was put into the store for a tenant, or taken out.
-- ARGV: tenant, bytes (less than 0: taken out), token of the upload that brought them ('' = no upload), now
-- Returns 1.
require_epoch()
local tenant, bytes = ARGV[1], tonumber(ARGV[2])
local stored = 'tenant:' .. tenant .. ':stored'
if ARGV[3] ~= '' then
  redis.call('HDEL', 'tenant:' .. tenant .. ':arriving', ARGV[3])
  if bytes > 0 then used(tenant, clock(ARGV[4]), 'bytes_uploaded', ARGV[2]) end
end
redis.call('HSET', stored, 'bytes', math.max(0, tonumber(redis.call('HGET', stored, 'bytes') or 0) + bytes))
redis.call('HINCRBY', stored, 'moved', ARGV[2])
return 1
