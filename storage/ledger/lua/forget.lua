#!lua flags=allow-oom
-- Forget an ended job whose deletion lies in the store.
-- ARGV: id
-- Returns {1, its status} when it is gone now, {0, status} when it has not ended.
require_epoch()
local id = ARGV[1]
local status = field(id, 'status')
if status ~= '' and not ended(status) then return {0, status} end
redis.call('ZREM', 'tenant:' .. field(id, 'tenant') .. ':jobs', id)
cease(id)
drop_ranges(id)
redis.call('UNLINK', job_key(id), job_key(id) .. ':events')
return {1, status}
