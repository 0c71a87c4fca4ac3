#!lua
-- Choose the job that a worker should serve next: priority, then fair share, then a model it holds already,
-- unless the job whose turn it is has waited too long for that.
-- ARGV: now, longest wait (ms), then the keys of the models that the worker holds
-- Returns the job's id, or '' when nothing can be claimed.
require_epoch()
local now, patience = clock(ARGV[1]), tonumber(ARGV[2])
local held = {}
for i = 3, #ARGV do held[ARGV[i]] = true end
for _, priority in ipairs(PRIORITIES) do
  local ids = redis.call('ZRANGE', 'runnable:' .. priority, 0, 31)
  if #ids > 0 then
    local waited = now - tonumber(redis.call('HGET', job_key(ids[1]), 'waiting_since') or now)
    if waited <= patience then
      for _, id in ipairs(ids) do
        if held[field(id, 'model_key')] then return id end
      end
    end
    return ids[1]
  end
end
return ''
