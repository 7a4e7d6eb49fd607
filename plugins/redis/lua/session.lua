-- session.lua: opens, renews or closes sessions.
-- ARGV: …, "open", the session, its TTL in ms, what is said about it: the TTL granted in ms, 0 when it ended.
-- ARGV: …, "renew", sessions: the TTL of each, 0 when it is gone.
-- ARGV: …, "close", the session.
local refused, now = enter()
if refused then return refused end

-- renew starts the TTL of an open session anew and returns it, 0 for any other. A server that
-- takes no writes gives an error: a session that was not renewed is not one that ended.
local function renew(session)
  if not open(session, now) then return 0 end
  touch()
  local ok, about = pcall(cjson.decode, redis.call('HGET', ABOUT, session) or '')
  if not ok or type(about) ~= 'table' or type(about.ttl_ms) ~= 'number' then return 0 end
  redis.call('ZADD', SESSIONS, text(now + 1 + about.ttl_ms), session)
  return about.ttl_ms
end

local what, session = ARGV[4], ARGV[5]
local granted = {}
if what == 'renew' then
  for i = 5, #ARGV do granted[#granted + 1] = renew(ARGV[i]) end
elseif what == 'close' then
  touch()
  redis.call('ZADD', SESSIONS, 'XX', 0, session)
  if not sweep(now) then return { 'again' } end
else
  granted[1] = renew(session)
  if granted[1] == 0 and not redis.call('ZSCORE', SESSIONS, session) and not redis.call('ZSCORE', ENDED, session) then
    redis.call('ZADD', SESSIONS, text(now + 1 + ARGV[6]), session)
    redis.call('HSET', ABOUT, session, ARGV[7])
    granted[1] = tonumber(ARGV[6])
  end
end
return { 'ok', revision(), granted }
