#!lua
-- Begin another generation of an ended job; its intent lies in the store.
-- ARGV: id, the new generation, rows that have a result already, grace for the first planner (ms), window for
--       completion (ms; '' = none), now
-- Returns {1, status} when this call did it, {0, status} when the job is not one generation behind, or runs.
require_epoch()
local id, generation = ARGV[1], tonumber(ARGV[2])
local job = job_key(id)
local status = field(id, 'status')
local now = clock(ARGV[6])
if not ended(status) or tonumber(redis.call('HGET', job, 'attempts') or 1) ~= generation - 1 then
  return {0, status}
end
drop_ranges(id)
redis.call('HDEL', job, 'rows', 'outcome', 'error', 'evaluation', 'corpus', 'warnings', 'total', 'started_at', 'ended_at', 'sealed',
  'expires_at', 'told_at')
redis.call('HSET', job, 'status', 'validating', 'attempts', generation, 'base', ARGV[3], 'completed', ARGV[3],
  'failed', 0, 'planner_until', now + tonumber(ARGV[4]))
if ARGV[5] ~= '' then redis.call('HSET', job, 'expires_at', now + tonumber(ARGV[5])) end
redis.call('HDEL', 'tenant:' .. field(id, 'tenant') .. ':reserved', id)
begin(id)
redis.call('PERSIST', job .. ':events')
tell(id, 'status')
touch(id)
return {1, 'validating'}
