#!lua flags=allow-oom
-- Become the job's finalizer, or go on being it.
-- ARGV: id, token, lease (ms), what is finished so far (JSON; '' keeps it), now
-- Returns {'ok', what the last finalizer had finished}, {'held', ''} or {'over', ''}.
require_epoch()
local id, token = ARGV[1], ARGV[2]
local now = clock(ARGV[5])
local status = field(id, 'status')
if status ~= 'finalizing' and status ~= 'cancelling' then return {'over', ''} end
-- Not before all has been planned, nor before all that is done has been entered.
if may_plan(id) or field(id, 'restoring') ~= '' then return {'held', ''} end
local holder = field(id, 'finalizer')
if holder ~= '' and holder ~= token and tonumber(field(id, 'finalizer_until')) > now then
  return {'held', ''}
end
redis.call('HSET', job_key(id), 'finalizer', token, 'finalizer_until', now + tonumber(ARGV[3]))
if ARGV[4] ~= '' then redis.call('HSET', job_key(id), 'final_state', ARGV[4]) end
return {'ok', field(id, 'final_state')}
