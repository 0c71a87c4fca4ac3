#!lua
-- Make a range claimable, as the planner. A range seen before is left as it is.
-- ARGV: id, planner token, range, lease (ms), now
-- Returns 'ok', or 'lost' when this planner was replaced or there is nothing to plan any more.
require_epoch()
local id, token, range = ARGV[1], ARGV[2], ARGV[3]
local now = clock(ARGV[5])
if field(id, 'planner') ~= token or not may_plan(id) then return 'lost' end
redis.call('HSET', job_key(id), 'planner_until', now + tonumber(ARGV[4]))
-- Of an expired job the shard in the store is all that is wanted: nobody will compute it.
if field(id, 'outcome') ~= '' then return 'ok' end
if redis.call('HEXISTS', job_key(id) .. ':ranges', range) == 1 then return 'ok' end
add_pending(id, range, now)
if field(id, 'rows') == '' then
  local start, stop = bounds(range)
  queue_rows(id, stop - start)
end
redis.call('HDEL', job_key(id), 'plannings', 'waiting')
if field(id, 'status') == 'validating' then
  redis.call('HSET', job_key(id), 'status', 'in_progress')
  tell(id, 'status')
end
touch(id)
return 'ok'
