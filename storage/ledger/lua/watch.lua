#!lua flags=allow-oom
-- Say, as a sweeper, which server is seen. After a restart or a gap nothing expires for one lease time, for nobody
-- could renew a lease meanwhile.
-- ARGV: run_id, longest gap between two sweeps (ms), now
-- Returns since when this server has been seen without a gap (ms).
require_epoch()
local now = clock(ARGV[3])
local known = redis.call('HMGET', 'ledger:watch', 'run_id', 'since', 'seen')
local since = known[2]
if known[1] ~= ARGV[1] or now - tonumber(known[3] or 0) > tonumber(ARGV[2]) then since = now end
redis.call('HSET', 'ledger:watch', 'run_id', ARGV[1], 'since', since, 'seen', now)
return tonumber(since)
