#!lua flags=no-writes
-- Say in numbers what is going on.
-- ARGV: none
-- Returns {pending ranges, leased ranges, status, jobs that have it, status, …} of the jobs that have not ended.
require_epoch()
local jobs, pending, leased = {}, 0, 0
for _, id in ipairs(redis.call('SMEMBERS', 'active')) do
  local status = field(id, 'status')
  if status ~= '' then
    jobs[status] = (jobs[status] or 0) + 1
    pending = pending + redis.call('ZCARD', job_key(id) .. ':pending')
    leased = leased + redis.call('ZCARD', job_key(id) .. ':expiry')
  end
end
local found = {pending, leased}
for status, count in pairs(jobs) do
  table.insert(found, status)
  table.insert(found, count)
end
return found
