-- Put in front of every script. The ledger's keys, all in one logical database:
--
--   ledger:epoch          string  <installation>.<random>: this ledger is whole, and whose it is; without it
--                                 nothing may be trusted
--   ledger:probe          string  written to see whether writes are taken
--   ledger:rebuild        string  token of whoever builds the ledger again from the store; lapses
--   ledger:watch          hash    run_id of the server that the sweepers see, since when (ms) they have seen it
--                                 without a gap, and when last: seen (ms)
--   ledger:limits         hash    what a tenant may use that has no limit of its own, by name (see jobs/tenants.py)
--   ledger:accounts       string  token of the scheduler that keeps the accounts now; lapses
--   job:<id>              hash    the job's record (see jobs/record.py), and beside it: sealed, planner,
--                                 planner_until, finalizer, finalizer_until, final_state, max_error_rows,
--                                 max_error_share, model_key, waiting_since, lane, restoring, base (rows that earlier
--                                 generations gave a result), openings, plannings, deferrals, not_before, yield_until,
--                                 ungathered (bytes of output since somebody was last asked to join parts),
--                                 checkpoint (newest step of a training at which deaths were forgiven),
--                                 rows (how many the submission had, where that was known), told_at (ms, when progress was
--                                 last told)
--   job:<id>:events       stream  what happened, for whoever follows the job: event (status | progress | training), and
--                                 as the record had them then status, attempts, completed, failed, total ('' = not
--                                 known), detail ('' | JSON: the error of a status, what a progress waits for, a
--                                 training). Ids begin with the time (ms). Lapses after the job's end
--   job:<id>:ranges       hash    every range ever seen -> p(ending) | l(eased) | d(one):<token> | s(plit)
--   job:<id>:pending      zset    ranges that wait for a worker, by first row, those that killed one last
--   job:<id>:leases       hash    leased range -> token
--   job:<id>:expiry       zset    leased ranges, by the time at which their lease ends (ms)
--   job:<id>:tokens       hash    token of a live lease -> its range, to answer a repeated claim
--   job:<id>:hands        hash    leased range -> the rows of it that its worker has in hand
--   job:<id>:attempts     hash    range -> claims that ended neither in a commit nor in a release: deaths, and
--                                 one more while it is leased
--   job:<id>:origins      hash    piece of a split range -> the planned range whose shard holds its rows
--   job:<id>:done         zset    <range>.<token> of committed parts, by first row
--   tenant:<t>:jobs       zset    the tenant's job ids, by time of submission (ms)
--   tenant:<t>            hash    a tenant that has a record: record (JSON), disabled ('1'), and its own limits by name
--                                 ('' lifts one)
--   tenant:<t>:unfinished set     ids of its jobs that have not ended
--   tenant:<t>:rows       hash    such a job -> its rows that wait to be computed; all -> their sum
--   tenant:<t>:reserved   hash    job that is about to be entered -> <rows> <when that lapses (ms)>
--   tenant:<t>:stored     hash    bytes in the store, moved (their change since they are being measured), measured_at
--   tenant:<t>:arriving   hash    token of an upload -> <bytes so far> <when that lapses (ms)>
--   bucket:<t>:<limit>    string  when the tenant's calls will all be forgotten (ms): see charge.lua; lapses then
--   usage:<day>           set     tenants that used something on that day (number of days since 1970); lapses
--   usage:<day>:<t>       hash    what the tenant used: requests, rows, failed_rows, input_tokens, output_tokens,
--                                 device_ms, bytes_uploaded; lapses
--   audit                 stream  who changed what, until the scheduler has put it into the store
--   active                set     ids of jobs that have not ended
--   runnable:<priority>   zset    tenants that have jobs with pending ranges, by virtual time (shards served)
--   runnable:<priority>:<t>  zset ids of such jobs of one tenant, by virtual time
--   vtime                 hash    each of these queues -> its own virtual time
--   slots:<class>         zset    invitations that are out, by the time at which they lapse (ms)
--   lapsed:<class>        string  invitations in a row that lapsed
--   workers               hash    id of a worker -> what it last said of itself, with its time (JSON)
--   speeds                hash    <kind>|<model>|<device> -> shard bytes a second, averaged
--   key:<id>              string  an API key's record
--   webhooks              zset    tenants with deliveries that are to be attempted, by when one of them is due (ms)
--   webhooks:<tenant>     zset    these deliveries of a tenant, by when they are due; a leased one by the lease's end
--   webhooks.leases       hash    token of an attempt -> <tenant>/<delivery>
--   schedules             zset    <tenant>/<schedule>, by when somebody is to look at it (ms); one that is looked at by
--                                 the end of the lease
--   schedules.leases      hash    such a schedule -> token of whoever looks at it
--   schedules.late        hash    such a schedule, whose run has not completed in time -> since when (ms)
--   tenant:<t>:schedules  hash    id of a schedule -> number of its newest revision
--   keys:used             hash    API key -> when it was last used, to the minute (ms)
--
-- Each change of a record is published on the channel ledger:changes as '<id> <version>'. That is a hint and may be
-- lost.
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

-- Whoever enters a job anew from the store: a finalizer of a whole ledger, or who builds the ledger again.
local function require_restorer(token)
  if redis.call('EXISTS', 'ledger:epoch') == 1 then return end
  if redis.call('GET', 'ledger:rebuild') ~= token then
    error({err = 'NOEPOCH the ledger is being built by somebody else'})
  end
end

local function job_key(id) return 'job:' .. id end

local function touch(id)
  redis.call('PUBLISH', 'ledger:changes', id .. ' ' .. redis.call('HINCRBY', job_key(id), 'version', 1))
end

local function field(id, name) return redis.call('HGET', job_key(id), name) or '' end

-- Events that a job's stream keeps (a few more, for it is trimmed in whole nodes), for how long it stays after the
-- job's end, and least time between two that tell of progress (ms).
local EVENTS_KEPT, EVENTS_LAST, PROGRESS_EVERY = 1000, 600000, 1000

-- Tell those who follow a job. Whoever tells has changed the record, and touches it after this: the hint must not come
-- before there is something to read.
local function tell(id, event, detail)
  local now = redis.call('HMGET', job_key(id), 'status', 'attempts', 'completed', 'failed', 'total', 'error')
  if event == 'status' then detail = now[6] end
  redis.call('XADD', job_key(id) .. ':events', 'MAXLEN', '~', EVENTS_KEPT, '*', 'event', event, 'status', now[1] or '',
    'attempts', now[2] or 1, 'completed', now[3] or 0, 'failed', now[4] or 0, 'total', now[5] or '',
    'detail', detail or '')
end

local function tell_progress(id, now)
  if now - tonumber(redis.call('HGET', job_key(id), 'told_at') or 0) < PROGRESS_EVERY then return end
  redis.call('HSET', job_key(id), 'told_at', now)
  tell(id, 'progress')
end

local function ended(status)
  return status == 'completed' or status == 'failed' or status == 'expired' or status == 'cancelled'
end

local function pending_score(id, range)
  -- What killed workers goes last: first whatever can be done safely.
  local deaths = tonumber(redis.call('HGET', job_key(id) .. ':attempts', range) or 0)
  return tonumber(string.sub(range, 1, 12)) + deaths * 1e12
end

-- What a tenant may use: its own limit, else the installation's; nil: there is none.
local function limit_of(tenant, name)
  local limit = redis.call('HGET', 'tenant:' .. tenant, name) or redis.call('HGET', 'ledger:limits', name)
  return tonumber(limit or '')
end

local DAY_MS, USAGE_SECONDS = 86400000, 8 * 86400

local function usage_key(tenant, now)
  return 'usage:' .. math.floor(now / DAY_MS) .. ':' .. tenant
end

-- Count what a tenant used: now, then name, amount, ...
local function used(tenant, now, ...)
  local key, day = usage_key(tenant, now), 'usage:' .. math.floor(now / DAY_MS)
  local counts = {...}
  for i = 1, #counts, 2 do redis.call('HINCRBY', key, counts[i], counts[i + 1]) end
  redis.call('SADD', day, tenant)
  redis.call('EXPIRE', key, USAGE_SECONDS)
  redis.call('EXPIRE', day, USAGE_SECONDS)
end

-- Whether a tenant has used up its device-seconds of today: nobody works for it before the next day.
local function used_up(tenant, now)
  local limit = limit_of(tenant, 'device_seconds_per_day')
  if not limit then return false end
  return tonumber(redis.call('HGET', usage_key(tenant, now), 'device_ms') or 0) >= limit * 1000
end

-- The first tenants of a queue that may be served today.
local function first_tenants(queue, most, now)
  local found, seen = {}, 0
  while #found < most do
    local some = redis.call('ZRANGE', queue, seen, seen + most - 1)
    for _, tenant in ipairs(some) do
      if #found < most and not used_up(tenant, now) then found[#found + 1] = tenant end
    end
    seen = seen + most
    if #some < most then break end
  end
  return found
end

-- A job's rows that wait to be computed become more or fewer, and with them its tenant's.
local function queue_rows(id, change)
  local queue = 'tenant:' .. field(id, 'tenant') .. ':rows'
  local known = tonumber(redis.call('HGET', queue, id) or 0)
  local rows = math.max(0, known + change)
  if rows == known then return end
  if rows == 0 then redis.call('HDEL', queue, id) else redis.call('HSET', queue, id, rows) end
  redis.call('HINCRBY', queue, 'all', rows - known)
end

local function unqueue_rows(id) queue_rows(id, -math.huge) end

local function begin(id)
  redis.call('SADD', 'active', id)
  redis.call('SADD', 'tenant:' .. field(id, 'tenant') .. ':unfinished', id)
end

local function cease(id)
  unqueue_rows(id)
  redis.call('SREM', 'active', id)
  redis.call('SREM', 'tenant:' .. field(id, 'tenant') .. ':unfinished', id)
end

local function not_runnable(id)
  local queue = 'runnable:' .. field(id, 'priority')
  local tenant = field(id, 'tenant')
  redis.call('ZREM', queue .. ':' .. tenant, id)
  if redis.call('EXISTS', queue .. ':' .. tenant) == 0 then redis.call('ZREM', queue, tenant) end
end

-- Fair queueing: whoever is served moves one shard back; the queue's own time moves on by the share of a shard that
-- each of those who wait got by that. Whoever joins does so a little before that time, and so before one that was
-- served all along: soon served, and yet no stream of newcomers can keep the others waiting for ever.
local function virtual_time(queue) return tonumber(redis.call('HGET', 'vtime', queue) or 0) end

local function join(queue, name)
  if redis.call('ZSCORE', queue, name) then return false end
  redis.call('ZADD', queue, virtual_time(queue) - 0.5, name)
  return true
end

local function move_back(queue, name)
  local turn = redis.call('ZSCORE', queue, name)
  if not turn then return end
  local time = virtual_time(queue)
  redis.call('ZADD', queue, math.max(tonumber(turn) + 1, time + 0.75), name)
  redis.call('HSET', 'vtime', queue, time + 1 / math.max(1, redis.call('ZCARD', queue)))
end

local function runnable(id, now)
  local queue = 'runnable:' .. field(id, 'priority')
  local tenant = field(id, 'tenant')
  join(queue, tenant)
  if join(queue .. ':' .. tenant, id) then redis.call('HSET', job_key(id), 'waiting_since', now) end
end

-- One shard served: the job's turn comes later, and so does its tenant's.
local function served(id, now)
  local queue = 'runnable:' .. field(id, 'priority')
  local tenant = field(id, 'tenant')
  move_back(queue .. ':' .. tenant, id)
  move_back(queue, tenant)
  redis.call('HSET', job_key(id), 'waiting_since', now)
end

local function add_pending(id, range, now)
  redis.call('HSET', job_key(id) .. ':ranges', range, 'p')
  redis.call('ZADD', job_key(id) .. ':pending', pending_score(id, range), range)
  runnable(id, now)
end

local function origin_of(id, range)
  return redis.call('HGET', job_key(id) .. ':origins', range) or range
end

-- Rows of a range as a range of their own, which a worker may claim.
local function add_piece(id, parent, start, stop, now)
  if start >= stop then return nil end
  local piece = string.format('%012d-%012d', start, stop)
  redis.call('HSET', job_key(id) .. ':origins', piece, origin_of(id, parent))
  add_pending(id, piece, now)
  return piece
end

local function bounds(range)
  return tonumber(string.sub(range, 1, 12)), tonumber(string.sub(range, 14, 25))
end

local function end_lease(id, range, token)
  redis.call('HDEL', job_key(id) .. ':leases', range)
  redis.call('ZREM', job_key(id) .. ':expiry', range)
  redis.call('HDEL', job_key(id) .. ':tokens', token)
  redis.call('HDEL', job_key(id) .. ':hands', range)
end

local SUFFIXES = {'ranges', 'pending', 'leases', 'expiry', 'tokens', 'hands', 'attempts', 'origins', 'done'}

local function drop_ranges(id)
  for _, suffix in ipairs(SUFFIXES) do redis.call('UNLINK', job_key(id) .. ':' .. suffix) end
end

-- Decide how the job ends. Only the first decision counts; from then on nothing is committed.
local function decide(id, outcome, problem)
  local status = outcome == 'cancelled' and 'cancelling' or 'finalizing'
  redis.call('HSET', job_key(id), 'outcome', outcome, 'status', status)
  if problem ~= '' then redis.call('HSET', job_key(id), 'error', problem) end
  not_runnable(id)
  unqueue_rows(id)
  tell(id, 'status')
  touch(id)
end

-- A job whose window passed is planned to its end all the same: its unplanned rows are to become errors too.
local function may_plan(id)
  if field(id, 'sealed') == '1' then return false end
  local outcome = field(id, 'outcome')
  local status = field(id, 'status')
  if outcome == 'expired' then return status == 'finalizing' end
  return outcome == '' and (status == 'validating' or status == 'in_progress')
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
    decide(id, 'failed', cjson.encode({
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
  local status = field(id, 'status')
  if (status ~= 'in_progress' and status ~= 'validating') or field(id, 'sealed') ~= '1' then return false end
  if field(id, 'outcome') ~= '' then return false end
  if redis.call('ZCARD', job_key(id) .. ':pending') > 0 then return false end
  if redis.call('ZCARD', job_key(id) .. ':expiry') > 0 then return false end
  redis.call('HSET', job_key(id), 'status', 'finalizing')
  tell(id, 'status')
  touch(id)
  return true
end

-- Have a delivery attempted now, unless its time is known already.
local function deliver(tenant, id, now)
  redis.call('ZADD', 'webhooks', 'LT', now, tenant)
  return redis.call('ZADD', 'webhooks:' .. tenant, 'NX', now, id)
end

-- When a tenant's turn comes again: behind all who wait by now, else when its next delivery is due.
local function deliveries_moved(tenant, now)
  local first = redis.call('ZRANGE', 'webhooks:' .. tenant, 0, 0, 'WITHSCORES')
  if #first == 0 then
    redis.call('ZREM', 'webhooks', tenant)
  else
    redis.call('ZADD', 'webhooks', math.max(tonumber(first[2]), now), tenant)
  end
end
