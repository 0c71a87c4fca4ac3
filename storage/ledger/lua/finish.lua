#!lua flags=allow-oom
-- End a job whose manifest lies in the store, as the manifest says.
-- ARGV: id, ended status, ended_at (ms), then field, value, ... as the manifest has them
-- Returns 1, or 0 when it had ended before.
require_epoch()
local id, last = ARGV[1], ARGV[2]
local job = job_key(id)
local status = field(id, 'status')
if status == '' or ended(status) then
  redis.call('SREM', 'active', id)
  return 0
end
redis.call('HSET', job, 'status', last, 'ended_at', ARGV[3], unpack(ARGV, 4))
redis.call('HDEL', job, 'planner', 'planner_until', 'finalizer', 'finalizer_until', 'final_state')
not_runnable(id)
redis.call('SREM', 'active', id)
for _, suffix in ipairs({'ranges', 'pending', 'leases', 'expiry', 'tokens', 'attempts', 'origins', 'done'}) do
  redis.call('UNLINK', job .. ':' .. suffix)
end
touch(id)
return 1
