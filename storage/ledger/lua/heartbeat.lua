#!lua flags=allow-oom
-- Renew a lease.
-- ARGV: id, range, token, lease (ms), now
-- Returns 'ok'; 'lost' when the lease is another's; 'stop' when the job's outcome is decided.
require_epoch()
local id, range, token = ARGV[1], ARGV[2], ARGV[3]
if redis.call('HGET', job_key(id) .. ':leases', range) ~= token then return 'lost' end
if field(id, 'outcome') ~= '' then return 'stop' end
redis.call('ZADD', job_key(id) .. ':expiry', clock(ARGV[5]) + tonumber(ARGV[4]), range)
return 'ok'
