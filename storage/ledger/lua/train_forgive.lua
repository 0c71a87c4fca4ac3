#!lua flags=allow-oom
-- Forgive a training the deaths from before a checkpoint that it had not reached until then.
-- ARGV: id, range, token, step of a checkpoint that lies whole in the store (0: there is none)
-- Returns {'ok', deaths that count}, or {'lost', 0} when the lease is another's.
require_epoch()
local id, range, token = ARGV[1], ARGV[2], ARGV[3]
local job = job_key(id)
if redis.call('HGET', job .. ':leases', range) ~= token then return {'lost', 0} end
if tonumber(ARGV[4]) > tonumber(redis.call('HGET', job, 'checkpoint') or 0) then
  redis.call('HSET', job, 'checkpoint', ARGV[4])
  redis.call('HSET', job .. ':attempts', range, 1)
end
return {'ok', tonumber(redis.call('HGET', job .. ':attempts', range) or 1) - 1}
