#!lua flags=allow-oom
-- Decide that a job ends early.
-- ARGV: id, 'cancelled' | 'failed' | 'expired', error (JSON, '' for a cancel)
-- Returns {1, status} when this call decided, {0, status} when the job was past it.
require_epoch()
local id, outcome = ARGV[1], ARGV[2]
local status = field(id, 'status')
if (status ~= 'validating' and status ~= 'in_progress') or field(id, 'outcome') ~= '' then
  return {0, status}
end
decide(id, outcome, ARGV[3])
return {1, field(id, 'status')}
