#!lua
-- Say that all that the store knows of a job has been entered.
-- ARGV: id, restorer's token, rows planned in this generation ('' = planning had not ended), warnings (JSON),
--       '1' when a cancel lies in the store, now
-- Returns the status, or '' when somebody else is restoring the job.
require_restorer(ARGV[2])
local id = ARGV[1]
local job = job_key(id)
if field(id, 'restoring') ~= ARGV[2] then return '' end
redis.call('HDEL', job, 'restoring')
redis.call('HSET', job, 'planner_until', clock(ARGV[6]))
if ARGV[3] ~= '' then
  local total = tonumber(ARGV[3]) + tonumber(redis.call('HGET', job, 'base') or 0)
  redis.call('HSET', job, 'sealed', '1', 'total', total, 'warnings', ARGV[4])
end
redis.call('PERSIST', job .. ':events')
tell(id, 'status')
touch(id)
if field(id, 'outcome') == '' then
  if ARGV[5] == '1' then
    decide(id, 'cancelled', '')
  elseif not check_errors(id) then
    try_finalize(id)
  end
end
return field(id, 'status')
