#!lua
-- Make room for the bytes of an upload as they arrive, within the tenant's quota. Room that is not renewed lapses.
-- ARGV: tenant, upload's token, its bytes so far and those that come next, life of the room (ms), now
-- Returns {'ok'}; {'any'} when there is no quota; or {'full', bytes used by all else, the quota}.
require_epoch()
local tenant, token, bytes = ARGV[1], ARGV[2], tonumber(ARGV[3])
local now = clock(ARGV[5])
local limit = limit_of(tenant, 'bytes_stored')
if not limit then return {'any'} end
local arriving = 'tenant:' .. tenant .. ':arriving'
local total = tonumber(redis.call('HGET', 'tenant:' .. tenant .. ':stored', 'bytes') or 0)
local entries = redis.call('HGETALL', arriving)
for i = 1, #entries, 2 do
  local count, lapses = string.match(entries[i + 1], '(%d+) (%d+)')
  if tonumber(lapses) <= now then
    redis.call('HDEL', arriving, entries[i])
  elseif entries[i] ~= token then
    total = total + tonumber(count)
  end
end
if total + bytes > limit then return {'full', total, limit} end
redis.call('HSET', arriving, token, string.format('%.0f %.0f', bytes, now + tonumber(ARGV[4])))
return {'ok'}
