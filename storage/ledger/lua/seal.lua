#!lua
-- Say that planning has ended and how many rows there are.
-- ARGV: id, planner token, rows to be computed in this generation, warnings (JSON), now
-- Returns 'ok', 'finalize' when the job can be finalized now, or 'lost' as in add.lua.
require_epoch()
local id = ARGV[1]
if field(id, 'planner') ~= ARGV[2] or not may_plan(id) then return 'lost' end
local total = tonumber(ARGV[3]) + tonumber(redis.call('HGET', job_key(id), 'base') or 0)
redis.call('HSET', job_key(id), 'total', total, 'sealed', '1', 'warnings', ARGV[4])
redis.call('HDEL', job_key(id), 'planner', 'plannings', 'waiting')
tell(id, 'progress')
touch(id)
if field(id, 'outcome') ~= '' or check_errors(id) or try_finalize(id) then return 'finalize' end
return 'ok'
