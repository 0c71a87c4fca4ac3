#!lua flags=allow-oom
-- Become the job's finalizer, or go on being it.
-- ARGV: id, token, lease (ms), what is finished so far (JSON; '' keeps it), whether it may begin before the job's end
--       ('early' or ''), now
-- Returns {'ok', what the last finalizer had finished}, {'held', ''} or {'over', ''}.
require_epoch()
local id, token = ARGV[1], ARGV[2]
local now = clock(ARGV[6])
local status = field(id, 'status')
local early = status == 'in_progress' and ARGV[5] == 'early'
if not early and status ~= 'finalizing' and status ~= 'cancelling' then return {'over', ''} end
-- Not to the end before all has been planned, and not at all before all that is done has been entered.
if (may_plan(id) and not early) or field(id, 'restoring') ~= '' then return {'held', ''} end
local holder = field(id, 'finalizer')
if holder ~= '' and holder ~= token and tonumber(field(id, 'finalizer_until')) > now then
  return {'held', ''}
end
redis.call('HSET', job_key(id), 'finalizer', token, 'finalizer_until', now + tonumber(ARGV[3]))
if ARGV[4] ~= '' then redis.call('HSET', job_key(id), 'final_state', ARGV[4]) end
return {'ok', field(id, 'final_state')}
