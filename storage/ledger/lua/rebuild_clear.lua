#!lua
-- Drop keys of a ledger of before.
-- ARGV: rebuilder's token, then names of keys
-- Returns 1, or 0 when the ledger is whole, or being built by somebody else: nothing is dropped then.
if redis.call('EXISTS', 'ledger:epoch') == 1 or redis.call('GET', 'ledger:rebuild') ~= ARGV[1] then return 0 end
redis.call('UNLINK', unpack(ARGV, 2))
return 1
