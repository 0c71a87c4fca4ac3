#!lua
-- Say that planning has ended and how many rows there are.
-- ARGV: id, planner token, total rows, warnings (JSON)
-- Returns 'ok', 'finalize' when the job can be finalized now, or 'lost' as in add.lua.
require_epoch()
local id = ARGV[1]
if field(id, 'planner') ~= ARGV[2] or field(id, 'outcome') ~= '' then return 'lost' end
redis.call('HSET', job_key(id), 'total', ARGV[3], 'sealed', '1', 'warnings', ARGV[4])
touch(id)
if check_errors(id) or try_finalize(id) then return 'finalize' end
return 'ok'
