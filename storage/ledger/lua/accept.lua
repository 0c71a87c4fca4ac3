#!lua flags=allow-oom
-- Use up an invitation.
-- ARGV: class of worker, slot's name
-- Returns 1, or 0 for a duplicate or one that lapsed.
require_epoch()
if redis.call('ZREM', 'slots:' .. ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('DEL', 'lapsed:' .. ARGV[1])
return 1
