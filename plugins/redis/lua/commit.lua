-- commit.lua: compare and set, each change by itself.
-- ARGV: …, and of each change: field; "record" or "tombstone"; the version that must stand there;
-- the session that must be open, or ""; the record's session; the session that it was under, or "";
-- the document; the id of the write.
-- Reply: ok, revision, and of each change its revision, "stale" or "gone".
local refused, now = enter()
if refused then return refused end
local done = {}
for i = 4, #ARGV, 8 do
  local field, kind, want, must, session, was, doc, write = unpack(ARGV, i, i + 7)
  local stored = redis.call('HGET', RECORDS, field) or redis.call('HGET', TOMBSTONES, field)
  local answer
  if version(stored) ~= want then
    answer = 'stale'
    -- The client sends again what it got no answer to: this write may be there already.
    if stored and stored:find('"write":"' .. write .. '"', 1, true) then answer = version(stored) end
  elseif must ~= '' and not open(must, now) then
    answer = 'gone'
  else
    if kind == 'tombstone' then touch() end
    answer = text(redis.call('HINCRBY', META, 'revision', 1)) -- before all else: it is refused when memory is full
    doc = stamped(answer, doc)
    if was ~= '' and (kind == 'tombstone' or was ~= session) then redis.call('ZREM', OWNED, was .. '/' .. field) end
    if kind == 'tombstone' then
      bury(answer, field, doc, now)
    else
      redis.call('HSET', RECORDS, field, doc)
      if redis.call('HDEL', TOMBSTONES, field) == 1 then redis.call('ZREM', FORGET, field) end
      if was ~= session then redis.call('ZADD', OWNED, 0, session .. '/' .. field) end
      append(answer, field, 'record', doc)
    end
  end
  done[#done + 1] = answer
end
return { 'ok', revision(), done }
