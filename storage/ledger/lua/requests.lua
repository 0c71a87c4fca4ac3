#!lua flags=allow-oom
-- Count calls that were let in.
-- ARGV: now, then tenant, calls, ...
-- Returns 1.
require_epoch()
local now = clock(ARGV[1])
for i = 2, #ARGV, 2 do used(ARGV[i], now, 'requests', ARGV[i + 1]) end
return 1
