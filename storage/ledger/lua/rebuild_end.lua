#!lua
-- Say that the ledger is whole again.
-- ARGV: rebuilder's token, the new epoch
-- Returns 1, or 0 when the rebuild was taken over by somebody else.
if redis.call('GET', 'ledger:rebuild') ~= ARGV[1] then return 0 end
redis.call('SET', 'ledger:epoch', ARGV[2])
redis.call('DEL', 'ledger:rebuild')
return 1
