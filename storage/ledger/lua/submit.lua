#!lua
-- Enter a job whose job.json lies in the store.
-- ARGV: id, tenant, created_at (ms; '' = now), grace for the first planner (ms), window for completion (ms; '' =
--       none), then field, value, ... of the record
-- Returns 1, or 0 when the job is known already (nothing is changed then).
require_epoch()
local id, tenant = ARGV[1], ARGV[2]
if redis.call('EXISTS', job_key(id)) == 1 then return 0 end
local created = clock(ARGV[3])
redis.call('HSET', job_key(id), 'id', id, 'tenant', tenant, 'status', 'validating',
  'created_at', created, 'planner_until', created + tonumber(ARGV[4]), 'version', 1, unpack(ARGV, 6))
if ARGV[5] ~= '' then redis.call('HSET', job_key(id), 'expires_at', created + tonumber(ARGV[5])) end
redis.call('ZADD', 'tenant:' .. tenant .. ':jobs', created, id)
redis.call('HDEL', 'tenant:' .. tenant .. ':reserved', id)
begin(id)
queue_rows(id, tonumber(redis.call('HGET', job_key(id), 'rows') or 0))
tell(id, 'status')
return 1
