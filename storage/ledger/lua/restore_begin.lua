#!lua
-- Begin to enter a job anew from the store, forgetting what was known of it: leases of before are worth nothing.
-- ARGV: id, restorer's token, grace for the first planner (ms), now, tenant, created_at (ms), then field, value, ...
--       of the record; of a job that has ended that is all there is
-- Returns the status.
require_restorer(ARGV[2])
local id, tenant, created = ARGV[1], ARGV[5], ARGV[6]
local job = job_key(id)
if redis.call('EXISTS', job) == 1 then
  not_runnable(id)
  unqueue_rows(id)
end
local version = tonumber(redis.call('HGET', job, 'version') or 0)
drop_ranges(id)
redis.call('UNLINK', job)
redis.call('HSET', job, 'id', id, 'tenant', tenant, 'status', 'validating', 'created_at', created,
  'version', version + 1, 'restoring', ARGV[2], 'planner_until', clock(ARGV[4]) + tonumber(ARGV[3]),
  unpack(ARGV, 7))
redis.call('ZADD', 'tenant:' .. tenant .. ':jobs', created, id)
if ended(field(id, 'status')) then
  redis.call('HDEL', job, 'restoring', 'planner_until')
  cease(id)
else
  begin(id)
  queue_rows(id, tonumber(redis.call('HGET', job, 'rows') or 0))
end
return field(id, 'status')
