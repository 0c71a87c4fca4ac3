#!lua flags=allow-oom
-- Mark rows done whose part lies in the store; rows of the range behind them go back to pending.
-- ARGV: id, range, token, done range (the same, or its first rows), results, errors, input tokens, output tokens,
--       device ms, bytes of output, bytes of output worth gathering before the job's end, now
-- Returns 'ok', 'gather' when so much waits that somebody should begin to join it, 'finalize' when the job can be
-- finalized now, 'lost', or 'stop' when the outcome is decided.
require_epoch()
local id, range, token, done = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local now = clock(ARGV[12])
local job = job_key(id)
if redis.call('HGET', job .. ':ranges', done) == 'd:' .. token then
  return field(id, 'status') == 'finalizing' and 'finalize' or 'ok'
end
if redis.call('HGET', job .. ':leases', range) ~= token then return 'lost' end
end_lease(id, range, token)
if field(id, 'outcome') ~= '' then return 'stop' end
local deaths = tonumber(redis.call('HGET', job .. ':attempts', range) or 1) - 1
redis.call('HDEL', job .. ':attempts', range)
if done ~= range then
  redis.call('HSET', job .. ':ranges', range, 's')
  local _, stop = bounds(range)
  local _, middle = bounds(done)
  -- Whatever killed a worker is in the rest: it stays under suspicion, or each yield would cost one more life.
  if deaths > 0 then
    redis.call('HSET', job .. ':attempts', string.format('%012d-%012d', middle, stop), 1)
  end
  add_piece(id, range, middle, stop, now)
end
redis.call('HDEL', job .. ':origins', range)
redis.call('HSET', job .. ':ranges', done, 'd:' .. token)
redis.call('ZADD', job .. ':done', tonumber(string.sub(done, 1, 12)), done .. '.' .. token)
redis.call('HINCRBY', job, 'completed', ARGV[5])
redis.call('HINCRBY', job, 'failed', ARGV[6])
redis.call('HINCRBY', job, 'input_tokens', ARGV[7])
redis.call('HINCRBY', job, 'output_tokens', ARGV[8])
redis.call('HINCRBY', job, 'device_ms', ARGV[9])
local first, last = bounds(done)
queue_rows(id, first - last)
used(field(id, 'tenant'), now, 'rows', ARGV[5], 'failed_rows', ARGV[6], 'input_tokens', ARGV[7],
  'output_tokens', ARGV[8], 'device_ms', ARGV[9])
tell_progress(id, now)
touch(id)
local waiting = redis.call('HINCRBY', job, 'ungathered', ARGV[10])
if check_errors(id) or try_finalize(id) then return 'finalize' end
if waiting < tonumber(ARGV[11]) or tonumber(redis.call('HGET', job, 'finalizer_until') or 0) > now then return 'ok' end
redis.call('HSET', job, 'ungathered', 0)
return 'gather'
