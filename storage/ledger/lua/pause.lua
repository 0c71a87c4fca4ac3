#!lua flags=allow-oom
-- Put a role down that cannot go on just now; whoever comes next is sent for after a while.
-- ARGV: id, 'planner' | 'finalizer', token, pause (ms), why (for people, '' = nothing to say), now
-- Returns 1, or 0 when the role was another's.
require_epoch()
local id, role, token = ARGV[1], ARGV[2], ARGV[3]
if field(id, role) ~= token then return 0 end
redis.call('HDEL', job_key(id), role)
redis.call('HSET', job_key(id), role .. '_until', clock(ARGV[6]) + tonumber(ARGV[4]))
if ARGV[5] ~= '' then
  redis.call('HSET', job_key(id), 'waiting', ARGV[5])
  tell(id, 'progress', cjson.encode(ARGV[5]))
end
if role == 'planner' then redis.call('HINCRBY', job_key(id), 'plannings', -1) end
touch(id)
return 1
