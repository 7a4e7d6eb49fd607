-- join.lua: which life of the store is this? Makes the namespace where there is none, and begins
-- a new epoch where acknowledged writes were lost, or may be.
--
-- ARGV: epoch and replication id that the caller knew ("" for none), the length of the log, the
-- highest revision that it saw under them, a new epoch.
-- Reply: ok, revision, epoch, replication id, why the epoch is new ("" where it is not); or
-- "foreign" and a key; or "format" and a version.
local known, from, seen, fresh = ARGV[1], ARGV[2], tonumber(ARGV[4]), ARGV[5]
local s = server()
if s.role == 'slave' then return { 'replica' } end
for i, want in ipairs({ 'hash', 'hash', 'hash', 'zset', 'zset', 'hash', 'zset', 'zset' }) do
  local kind = redis.call('TYPE', KEYS[i]).ok
  if kind ~= want and kind ~= 'none' then return { 'foreign', KEYS[i] } end
end
local now = clock()

-- rearm gives every session its whole time again: nobody could renew while the server was away,
-- and another server has another clock.
local function rearm()
  for _, session in ipairs(redis.call('ZRANGEBYSCORE', SESSIONS, '(0', '+inf')) do
    local ok, about = pcall(cjson.decode, redis.call('HGET', ABOUT, session) or '')
    if ok and type(about) == 'table' and type(about.ttl_ms) == 'number' then
      redis.call('ZADD', SESSIONS, text(now + 1 + about.ttl_ms), session)
    end
  end
end

local meta = redis.call('HMGET', META, 'epoch', 'replid', 'before', 'started', 'revision', 'v')
local epoch, replid, before, started, at, format = unpack(meta)
if not epoch then
  if redis.call('EXISTS', META) == 1 then return { 'foreign', META } end
  redis.call('HSET', META, 'v', 1, 'epoch', fresh, 'replid', s.id, 'before', '', 'started', 0, 'revision', 0)
  for i = 2, 8 do redis.call('UNLINK', KEYS[i]) end -- of a namespace that lost its heart
  return { 'ok', '0', fresh, s.id, 'the namespace was empty' }
end
if format ~= '1' then return { 'format', format or '' } end
local why = ''
at = tonumber(at)
local moved = s.id ~= '' and replid ~= s.id -- since anybody was here who could tell
if moved and s.former:find('[^0]') then
  why = 'another server took over, to which the latest writes may not have come'
elseif epoch == known and at < seen then
  why = 'the latest writes were lost'
elseif epoch == known and s.id ~= '' and from ~= replid then
  if from ~= before then
    why = 'the server was restarted more than once unseen'
  elseif tonumber(started) < seen then
    why = 'the latest writes before a restart were lost'
  end
end
if why ~= '' or moved then touch() end -- or a server whose memory is full would refuse it, and with it everything
if why ~= '' then
  redis.call('HSET', META, 'epoch', fresh, 'replid', s.id, 'before', '', 'started', text(at))
  redis.call('UNLINK', (META:gsub('meta$', 'log:' .. epoch)))
  epoch = fresh
elseif moved then
  redis.call('HSET', META, 'replid', s.id, 'before', replid, 'started', text(at))
end
if moved then rearm() end
return { 'ok', text(at), epoch, s.id, why }
