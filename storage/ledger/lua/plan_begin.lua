#!lua
-- Become the job's planner, or go on being it.
-- ARGV: id, token, lease (ms), most planners in a row that add nothing, now
-- Returns 'ok'; 'held' when another planner's lease lives, or the job is being restored; 'over' when there is nothing to
-- plan any more; 'spent' when planners die one after the other without getting further: the input kills them. Whoever is
-- told so has the role all the same, to end the planning.
require_epoch()
local id, token = ARGV[1], ARGV[2]
local now = clock(ARGV[5])
if not may_plan(id) then return 'over' end
if field(id, 'restoring') ~= '' then return 'held' end
local holder = field(id, 'planner')
if holder ~= '' and holder ~= token and tonumber(field(id, 'planner_until')) > now then
  return 'held'
end
local spent = holder ~= token and redis.call('HINCRBY', job_key(id), 'plannings', 1) > tonumber(ARGV[4])
redis.call('HSET', job_key(id), 'planner', token, 'planner_until', now + tonumber(ARGV[3]))
return spent and 'spent' or 'ok'
