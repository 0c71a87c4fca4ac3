#!lua flags=allow-oom
-- Give a whole range back untouched. That is no attempt, unless a process died over it.
-- ARGV: id, range, token, '1' for a death, now
-- Returns 'ok', or 'lost' when the lease is another's.
require_epoch()
local id, range, token = ARGV[1], ARGV[2], ARGV[3]
local job = job_key(id)
if redis.call('HGET', job .. ':leases', range) ~= token then return 'lost' end
end_lease(id, range, token)
if ARGV[4] ~= '1' and redis.call('HINCRBY', job .. ':attempts', range, -1) <= 0 then
  redis.call('HDEL', job .. ':attempts', range)
end
if field(id, 'outcome') == '' then add_pending(id, range, clock(ARGV[5])) end
touch(id)
return 'ok'
