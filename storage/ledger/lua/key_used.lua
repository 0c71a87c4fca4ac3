#!lua
-- Note that a key was used, unless that was noted lately.
-- ARGV: key id, shortest time between two notes (ms), now
-- Returns 1 when it was noted now, else 0.
require_epoch()
local now = clock(ARGV[3])
if now - tonumber(redis.call('HGET', 'keys:used', ARGV[1]) or 0) < tonumber(ARGV[2]) then return 0 end
redis.call('HSET', 'keys:used', ARGV[1], now)
return 1
