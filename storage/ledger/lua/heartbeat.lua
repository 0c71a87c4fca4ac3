#!lua flags=allow-oom
-- Renew a lease, and say what its worker has in hand.
-- ARGV: id, range, token, lease (ms), rows in hand (a range, '' leaves them as they are), longest wait of a job that
--       nobody serves (ms), now
-- Returns 'ok'; 'lost' when the lease is another's; 'stop' when the job's outcome is decided; 'yield' when another job
-- has been waiting without any worker and this one should make room soon.
require_epoch()
local id, range, token = ARGV[1], ARGV[2], ARGV[3]
local now = clock(ARGV[7])
local job = job_key(id)
if redis.call('HGET', job .. ':leases', range) ~= token then return 'lost' end
if field(id, 'outcome') ~= '' then return 'stop' end
redis.call('ZADD', job .. ':expiry', now + tonumber(ARGV[4]), range)
if ARGV[5] ~= '' then redis.call('HSET', job .. ':hands', range, ARGV[5]) end
-- The first of each tenant, of this priority or a higher one. Only one worker is asked for each waiting job.
for _, priority in ipairs(PRIORITIES) do
  local queue = 'runnable:' .. priority
  for _, tenant in ipairs(first_tenants(queue, 8, now)) do
    local other = redis.call('ZRANGE', queue .. ':' .. tenant, 0, 0)[1]
    if other and other ~= id and redis.call('ZCARD', job_key(other) .. ':expiry') == 0 then
      local times = redis.call('HMGET', job_key(other), 'waiting_since', 'not_before', 'yield_until', 'openings')
      -- With an opening some worker is making ready for it already.
      if now - tonumber(times[1] or now) > tonumber(ARGV[6]) and tonumber(times[2] or 0) <= now
          and tonumber(times[3] or 0) <= now and tonumber(times[4] or 0) == 0 then
        redis.call('HSET', job_key(other), 'yield_until', now + 5000)
        return 'yield'
      end
    end
  end
  if priority == field(id, 'priority') then break end
end
return 'ok'
