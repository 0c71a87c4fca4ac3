#!lua
-- Choose the job that a worker should serve next. Priority comes first, unless a job of a lower one has starved;
-- then fair share, between tenants and between a tenant's jobs; then a model that the worker holds already, unless
-- the job whose turn it is has waited too long for that.
-- ARGV: now, longest wait for the sake of a model at hand (ms), longest wait of a lower priority (ms), then the keys
--       of the models that the worker holds
-- Returns the job's id, or '' when nothing can be claimed.
require_epoch()
local now, patience, starved = clock(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local held = {}
for i = 4, #ARGV do held[ARGV[i]] = true end

local function waited(id) return now - tonumber(redis.call('HGET', job_key(id), 'waiting_since') or now) end

-- Jobs that may be served now, in the order of their turns: each of the first tenants' first ones.
local function ready(priority)
  local found = {}
  local queue = 'runnable:' .. priority
  for _, tenant in ipairs(redis.call('ZRANGE', queue, 0, 15)) do
    for _, id in ipairs(redis.call('ZRANGE', queue .. ':' .. tenant, 0, 15)) do
      if tonumber(redis.call('HGET', job_key(id), 'not_before') or 0) <= now then
        found[#found + 1] = id
      end
    end
  end
  return found
end

local chosen = ''
for _, priority in ipairs(PRIORITIES) do
  local ids = ready(priority)
  if chosen == '' and #ids > 0 then
    chosen = ids[1]
    if waited(ids[1]) <= patience then
      for _, id in ipairs(ids) do
        if held[field(id, 'model_key')] then
          chosen = id
          break
        end
      end
    end
  elseif #ids > 0 and waited(ids[1]) > starved then
    return ids[1]
  end
end
return chosen
