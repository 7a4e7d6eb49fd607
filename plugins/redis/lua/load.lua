-- load.lua: what stands at keys, and which sessions are open.
-- ARGV: …, the number of fields, the fields, the sessions.
-- Reply: ok, revision, version and document of each field, whether each session is open.
local refused, now = enter()
if refused then return refused end
local docs, opened = {}, {}
local n = tonumber(ARGV[4])
for i = 5, 4 + n do
  local doc = redis.call('HGET', RECORDS, ARGV[i]) or redis.call('HGET', TOMBSTONES, ARGV[i])
  docs[#docs + 1] = version(doc)
  docs[#docs + 1] = doc or ''
end
for i = 5 + n, #ARGV do opened[#opened + 1] = open(ARGV[i], now) and 1 or 0 end
return { 'ok', revision(), docs, opened }
