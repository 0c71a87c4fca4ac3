#!lua
-- Enter one planned range with what became of it; gaps between its parts become pending.
-- ARGV: id, restorer's token, now, planned range, then for each of its parts in order: the part's range, token,
--       results, errors, input tokens, output tokens, device ms
-- Returns how many rows are pending, or -1 when somebody else is restoring the job.
require_restorer(ARGV[2])
local id, range = ARGV[1], ARGV[4]
local now = clock(ARGV[3])
local job = job_key(id)
if field(id, 'restoring') ~= ARGV[2] then return -1 end
-- Its end may have been decided meanwhile: that stands, and only what is done is still of use.
if field(id, 'status') == 'validating' then redis.call('HSET', job, 'status', 'in_progress') end
local start, stop = bounds(range)
local left = 0
if #ARGV == 4 then
  add_pending(id, range, now)
else
  redis.call('HSET', job .. ':ranges', range, 's')
end
for i = 5, #ARGV, 7 do
  local part, token = ARGV[i], ARGV[i + 1]
  local first, last = bounds(part)
  left = left + first - start
  add_piece(id, range, start, first, now)
  redis.call('HSET', job .. ':ranges', part, 'd:' .. token)
  redis.call('ZADD', job .. ':done', first, part .. '.' .. token)
  for offset, name in ipairs({'completed', 'failed', 'input_tokens', 'output_tokens', 'device_ms'}) do
    redis.call('HINCRBY', job, name, ARGV[i + 1 + offset])
  end
  start = last
end
if #ARGV > 4 then add_piece(id, range, start, stop, now) end
left = left + stop - start
if field(id, 'rows') == '' then
  queue_rows(id, left)
else
  local planned_start, planned_stop = bounds(range)
  queue_rows(id, left - (planned_stop - planned_start))
end
if field(id, 'outcome') ~= '' then
  not_runnable(id)
  unqueue_rows(id)
end
return left
