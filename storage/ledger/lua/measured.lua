#!lua
-- Begin to measure what a tenant has in the store by listing it, or say what came of it. What was put in or taken out
-- meanwhile may or may not be in the listing: it is counted, and the next measurement sets it right.
-- ARGV: tenant, bytes that were listed ('' = the listing begins), now
-- Returns 1.
require_epoch()
local stored = 'tenant:' .. ARGV[1] .. ':stored'
if ARGV[2] == '' then
  redis.call('HSET', stored, 'moved', 0)
else
  local moved = tonumber(redis.call('HGET', stored, 'moved') or 0)
  redis.call('HSET', stored, 'bytes', math.max(0, tonumber(ARGV[2]) + moved), 'measured_at', clock(ARGV[3]))
end
return 1
