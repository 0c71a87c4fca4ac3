#!lua flags=allow-oom
-- Count one call of a tenant against a rate. The bucket is the moment at which all calls so far would be forgotten at
-- that rate: each call moves it on by its share of a second, and it may lie ahead by no more than the burst.
-- ARGV: tenant, limit, calls a second, burst (s), now
-- Returns ms after which such a call would be let in; 0 when this one is.
require_epoch()
local bucket = 'bucket:' .. ARGV[1] .. ':' .. ARGV[2]
local now, share = clock(ARGV[5]), 1000 / tonumber(ARGV[3])
local empty = math.max(now, tonumber(redis.call('GET', bucket) or 0))
-- Also a rate of one call an hour lets one in.
local ahead = math.max(0, tonumber(ARGV[4]) * 1000 - share)
if empty - now > ahead then return math.ceil(empty - now - ahead) end
empty = empty + share
redis.call('SET', bucket, string.format('%.3f', empty), 'PX', math.ceil(empty - now))
return 0
