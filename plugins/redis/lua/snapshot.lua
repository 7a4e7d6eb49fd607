-- snapshot.lua: every record, if they are few, or if they must come at once.
-- ARGV: …, how many are few.
-- Reply: ok, revision, fields and documents; without the latter where there are more.
local refused = enter()
if refused then return refused end
if redis.call('HLEN', RECORDS) > tonumber(ARGV[4]) then return { 'ok', revision() } end
return { 'ok', revision(), redis.call('HGETALL', RECORDS) }
