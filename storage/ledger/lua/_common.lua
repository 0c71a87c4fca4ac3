-- Put in front of every script. The ledger's keys, all in one logical database:
--
--   ledger:epoch          string  says that this ledger is whole; without it nothing may be trusted
--   job:<id>              hash    the job's record (see jobs/record.py), and beside it: sealed, planner,
--                                 planner_until, finalizer, finalizer_until, final_state, max_error_rows,
--                                 max_error_share, model_key, waiting_since
--   job:<id>:ranges       hash    every range ever seen -> p(ending) | l(eased) | d(one):<token> | s(plit)
--   job:<id>:pending      zset    ranges that wait for a worker, by first row
--   job:<id>:leases       hash    leased range -> token
--   job:<id>:expiry       zset    leased ranges, by the time at which their lease ends (ms)
--   job:<id>:tokens       hash    token of a live lease -> its range, to answer a repeated claim
--   job:<id>:attempts     hash    range -> claims that ended neither in a commit nor in a release
--   job:<id>:origins      hash    piece of a split range -> the planned range whose shard holds its rows
--   job:<id>:done         zset    <range>.<token> of committed parts, by first row
--   tenant:<t>:jobs       zset    the tenant's job ids, by time of submission (ms)
--   active                set     ids of jobs that have not ended
--   runnable:<priority>   zset    ids of jobs with pending ranges, by virtual time (shards served)
--   slots                 zset    invitations that are out, by the time at which they lapse (ms)
--   workers               hash    id of a worker -> what it last said of itself, with its time (JSON)
--   speeds                hash    <kind>|<model>|<device> -> shard bytes a second, averaged
--   key:<id>              string  an API key's record
--
-- Times are Redis's own, in milliseconds; tests pass theirs.

local PRIORITIES = {'high', 'normal', 'low'}

local function clock(given)
  if given and given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function require_epoch()
  if redis.call('EXISTS', 'ledger:epoch') == 0 then
    error({err = 'NOEPOCH the ledger is being built'})
  end
end

local function job_key(id) return 'job:' .. id end

local function touch(id) redis.call('HINCRBY', job_key(id), 'version', 1) end

local function field(id, name) return redis.call('HGET', job_key(id), name) or '' end

local function ended(status)
  return status == 'completed' or status == 'failed' or status == 'expired' or status == 'cancelled'
end

local function not_runnable(id)
  redis.call('ZREM', 'runnable:' .. field(id, 'priority'), id)
end

-- A job joins the queue at the virtual time of whoever is served next, so that it neither jumps nor waits.
local function runnable(id, now)
  local queue = 'runnable:' .. field(id, 'priority')
  if redis.call('ZSCORE', queue, id) then return end
  local first = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
  redis.call('ZADD', queue, first[2] or 0, id)
  redis.call('HSET', job_key(id), 'waiting_since', now)
end

local function add_pending(id, range, now)
  redis.call('HSET', job_key(id) .. ':ranges', range, 'p')
  redis.call('ZADD', job_key(id) .. ':pending', tonumber(string.sub(range, 1, 12)), range)
  runnable(id, now)
end

local function end_lease(id, range, token)
  redis.call('HDEL', job_key(id) .. ':leases', range)
  redis.call('ZREM', job_key(id) .. ':expiry', range)
  redis.call('HDEL', job_key(id) .. ':tokens', token)
end

-- Decide how the job ends. Only the first decision counts; from then on nothing is committed.
local function decide(id, outcome, status, problem)
  redis.call('HSET', job_key(id), 'outcome', outcome, 'status', status)
  if problem ~= '' then redis.call('HSET', job_key(id), 'error', problem) end
  not_runnable(id)
  touch(id)
end

-- Too many failed rows end the job; a percentage can be judged only once the total is known.
local function check_errors(id)
  local failed = tonumber(redis.call('HGET', job_key(id), 'failed') or 0)
  local total = tonumber(redis.call('HGET', job_key(id), 'total') or -1)
  local rows = field(id, 'max_error_rows')
  local share = field(id, 'max_error_share')
  local limit = nil
  if rows ~= '' then limit = tonumber(rows) end
  -- Shares are multiples of a millionth; the half of one undoes the rounding of 0.29 * 100 = 28.999….
  if share ~= '' and total >= 0 then limit = math.floor(tonumber(share) * total + 5e-7) end
  if limit and failed > limit then
    decide(id, 'failed', 'finalizing', cjson.encode({
      code = 'too_many_errors',
      message = failed .. ' rows failed, more than max_errors allows',
      field = 'max_errors',
    }))
    return true
  end
  return false
end

-- A job can be finalized when it is sealed and nothing is pending or leased.
local function try_finalize(id)
  if field(id, 'status') ~= 'in_progress' or field(id, 'sealed') ~= '1' then return false end
  if redis.call('ZCARD', job_key(id) .. ':pending') > 0 then return false end
  if redis.call('ZCARD', job_key(id) .. ':expiry') > 0 then return false end
  redis.call('HSET', job_key(id), 'status', 'finalizing')
  touch(id)
  return true
end
