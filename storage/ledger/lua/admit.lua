#!lua flags=no-writes
-- Look up, at once, all that letting a call in takes. It writes nothing, so that calls which only look are answered
-- while Redis takes no writes.
-- ARGV: id of the key that came with the call ('' = none that could be one), the limit of such calls: 'read_rate' or
--       'write_rate', id of a job that the call asks for ('' = none), now
-- Returns {now (ms), the key's record (JSON; '' = there is no such key), '1' when its tenant is disabled, calls a
-- second that its tenant may make ('' = any number), then field, value, ... of the job's record if it is the tenant's}.
require_epoch()
local now = clock(ARGV[4])
local text = ARGV[1] ~= '' and redis.call('GET', 'key:' .. ARGV[1])
if not text then return {now, '', '', ''} end
local tenant = cjson.decode(text).tenant
local found = {now, text, redis.call('HGET', 'tenant:' .. tenant, 'disabled') or '', ''}
local rate = limit_of(tenant, ARGV[2])
if rate then found[4] = tostring(rate) end
if ARGV[3] ~= '' and field(ARGV[3], 'tenant') == tenant then
  for _, part in ipairs(redis.call('HGETALL', job_key(ARGV[3]))) do found[#found + 1] = part end
end
return found
