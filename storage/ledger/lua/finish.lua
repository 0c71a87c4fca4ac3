#!lua flags=allow-oom
-- End a job whose manifest lies in the store, as the manifest says.
-- ARGV: id, generation, ended status, ended_at (ms), id of the delivery that is to be made of it ('' = none; its
--       record lies in the store too), then field, value, ... as the manifest has them
-- Returns 1, or 0 when it had ended before or is at another generation.
require_epoch()
local id, last = ARGV[1], ARGV[3]
local job = job_key(id)
local status = field(id, 'status')
if status == '' or ended(status) then
  cease(id)
  return 0
end
if (redis.call('HGET', job, 'attempts') or '1') ~= ARGV[2] then return 0 end
not_runnable(id)
redis.call('HSET', job, 'status', last, 'ended_at', ARGV[4], unpack(ARGV, 6))
redis.call('HDEL', job, 'planner', 'planner_until', 'finalizer', 'finalizer_until', 'final_state', 'sealed',
  'restoring', 'told_at', 'plannings', 'deferrals', 'not_before', 'openings', 'waiting', 'yield_until', 'waiting_since', 'ungathered')
cease(id)
drop_ranges(id)
if ARGV[5] ~= '' then deliver(field(id, 'tenant'), ARGV[5], clock()) end
tell(id, 'status')
redis.call('PEXPIRE', job .. ':events', EVENTS_LAST)
touch(id)
return 1
