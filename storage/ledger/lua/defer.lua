#!lua flags=allow-oom
-- Let others go first for a while: this job cannot be worked on just now. The while doubles each time.
-- ARGV: id, first pause (ms), longest pause (ms), why (for people), now
-- Returns the pause (ms).
require_epoch()
local id = ARGV[1]
local job = job_key(id)
if redis.call('EXISTS', job) == 0 then return 0 end
local times = redis.call('HINCRBY', job, 'deferrals', 1)
local pause = math.min(tonumber(ARGV[3]), tonumber(ARGV[2]) * 2 ^ (times - 1))
redis.call('HSET', job, 'not_before', clock(ARGV[5]) + pause, 'waiting', ARGV[4])
if tonumber(redis.call('HGET', job, 'openings') or 0) > 0 then redis.call('HINCRBY', job, 'openings', -1) end
tell(id, 'progress', cjson.encode(ARGV[4]))
touch(id)
return pause
