#!lua
-- Say what a job's model turned out to be.
-- ARGV: id, model (JSON), what residency goes by
-- Returns 1, or 0 when the ledger has no such job: a record of that one field would keep it from being entered again.
require_epoch()
local id = ARGV[1]
if redis.call('EXISTS', job_key(id)) == 0 then return 0 end
redis.call('HSET', job_key(id), 'model', ARGV[2], 'model_key', ARGV[3])
touch(id)
return 1
