#!lua
-- Say how far a training is.
-- ARGV: id, range, token, how far (JSON), the same as followers are told (JSON)
-- Returns 'ok', or 'lost' when the lease is another's.
require_epoch()
local id, range, token = ARGV[1], ARGV[2], ARGV[3]
local job = job_key(id)
if redis.call('HGET', job .. ':leases', range) ~= token then return 'lost' end
redis.call('HSET', job, 'training', ARGV[4])
tell(id, 'training', ARGV[5])
touch(id)
return 'ok'
