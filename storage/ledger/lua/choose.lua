#!lua
-- Choose the job that a worker should serve next. Priority comes first, unless a job of a lower one has starved;
-- then fair share, between tenants and between a tenant's jobs; then a model that the worker holds already, unless
-- the job whose turn it is has waited too long for that. Tenants that have used up their device-seconds of today are
-- passed over.
-- ARGV: now, longest wait for the sake of a model at hand (ms), longest wait of a lower priority (ms), then the keys
--       of the models that the worker holds
-- Returns the job's id, or '' when nothing can be claimed.
require_epoch()
local now, patience, starved = clock(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local held = {}
for i = 4, #ARGV do held[ARGV[i]] = true end

local function waited(id) return now - tonumber(redis.call('HGET', job_key(id), 'waiting_since') or now) end

-- The first job, in the order of turns, that may be served now and that a test takes: each of the first tenants'
-- first ones is asked for, none behind the one that is found.
local function first(priority, test)
  local queue = 'runnable:' .. priority
  for _, tenant in ipairs(first_tenants(queue, 16, now)) do
    for _, id in ipairs(redis.call('ZRANGE', queue .. ':' .. tenant, 0, 15)) do
      if tonumber(redis.call('HGET', job_key(id), 'not_before') or 0) <= now and test(id) then return id end
    end
  end
end

local function any() return true end
local function at_hand(id) return held[field(id, 'model_key')] end

local chosen = ''
for _, priority in ipairs(PRIORITIES) do
  local turn = first(priority, any)
  if turn and chosen == '' then
    chosen = turn
    if next(held) and waited(turn) <= patience then chosen = first(priority, at_hand) or turn end
  elseif turn and waited(turn) > starved then
    return turn
  end
end
return chosen
