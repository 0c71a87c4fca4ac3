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
redis.call('HSET', job, 'status', 'in_progress')
local start, stop = bounds(range)
if #ARGV == 4 then
  add_pending(id, range, now)
  return stop - start
end
local left = 0
redis.call('HSET', job .. ':ranges', range, 's')
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
add_piece(id, range, start, stop, now)
return left + stop - start
