#!lua
-- Say that a worker begins to make a job's model ready. A claim says that one succeeded.
-- ARGV: id
-- Returns how many openings there were since the last claim. Too many mean that the opening itself kills workers.
require_epoch()
local id = ARGV[1]
if redis.call('EXISTS', job_key(id)) == 0 then return 0 end
return redis.call('HINCRBY', job_key(id), 'openings', 1) - 1
