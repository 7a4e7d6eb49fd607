-- prelude.lua: what every script begins with. README.md has the layout.
--
-- KEYS are the keys of the namespace, always all of them and in this order. ARGV[1] is the epoch
-- and ARGV[2] the replication id that the caller knows. A reply is a list; its first element says
-- what it is: "ok", "again" (call again: more was due than one script may sweep), "life" (the
-- store began a new life), or "replica".
local META, RECORDS, TOMBSTONES, FORGET, SESSIONS, ABOUT, OWNED, ENDED, LOG = unpack(KEYS)

local SWEEP_AT_ONCE = 100 -- records
local FORGET_AT_ONCE = 500 -- tombstones, in less than 1 ms

-- text writes a whole number: Lua's own form is not exact above 10^14.
local function text(n) return string.format('%.0f', n) end

-- clock is the server's time in ms, rounded down: a deadline is rounded up.
local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- touch is a write that changes nothing and takes no memory. Redis refuses for want of memory only
-- what a script writes first: what comes after it, such as renewals and removals, is done in any
-- case. A server that takes no writes at all (its disk is full, it has too few replicas) gives
-- an error, with which the script ends.
local function touch() redis.call('ZREM', OWNED, '') end

-- writable is the same for what a script does beside a read, which goes on in any case. It returns
-- whether the server takes writes, and whether not because it is a replica.
local function writable()
  local answer = redis.pcall('ZREM', OWNED, '')
  if type(answer) ~= 'table' then return true end
  return false, answer.err:find('READONLY', 1, true) ~= nil
end

-- server says which life of the server this is. Without the permission for INFO it is unknown.
local function server()
  local info = redis.pcall('INFO', 'replication')
  if type(info) == 'table' then return { role = '', id = '', former = '' } end
  return {
    role = info:match('role:(%a+)') or '',
    id = info:match('master_replid:(%x+)') or '',
    former = info:match('master_replid2:(%x+)') or '',
  }
end

-- version is the revision of a document: "0" for none, "x" for one that cannot be read.
local function version(doc)
  if not doc then return '0' end
  local n = doc:match('^{"revision":(%d+)[,}]')
  if n then return n end
  local ok, v = pcall(cjson.decode, doc)
  if ok and type(v) == 'table' and type(v.revision) == 'number' and v.revision > 0 then return text(v.revision) end
  return 'x'
end

local function stamped(revision, doc) return '{"revision":' .. revision .. ',' .. doc:sub(2) end

-- append writes what happened to the log, and on which server: a reader of the log alone does not
-- notice that another took over.
local function append(revision, field, kind, doc)
  redis.call('XADD', LOG, 'MAXLEN', '~', ARGV[3], revision .. '-0', 'key', field, 'server', ARGV[2]:sub(1, 8), kind, doc)
end

-- bury puts a tombstone in the place of a record.
local function bury(revision, field, doc, now)
  redis.call('HSET', TOMBSTONES, field, doc)
  redis.call('ZADD', FORGET, text(now + 3600000), field)
  redis.call('HDEL', RECORDS, field)
  append(revision, field, 'tombstone', doc)
end

-- owner reads generation and session of a record, as JSON strings; nil for what is corrupt.
local function owner(doc)
  local generation, session = doc:match('^{"revision":%d+,"v":1,"service":"[^"\\]*","id":"[^"\\]*","generation":"([^"\\]*)","session":"([^"\\]*)"')
  if generation then return '"' .. generation .. '"', session end
  local ok, v = pcall(cjson.decode, doc)
  if ok and type(v) == 'table' and type(v.generation) == 'string' and type(v.session) == 'string' then
    return cjson.encode(v.generation), v.session
  end
end

-- remove takes a record away because its session ended.
local function remove(session, field, cause, now)
  local doc = redis.call('HGET', RECORDS, field)
  local generation, of
  if doc then generation, of = owner(doc) end
  if not doc or of and of ~= session then
    redis.call('ZREM', OWNED, session .. '/' .. field)
    return
  end
  local revision = text(redis.call('HINCRBY', META, 'revision', 1))
  if generation then
    local service, id = field:match('^([^/]*)/(.*)$')
    bury(revision, field, stamped(revision, '{"v":1,"service":"' .. service .. '","id":"' .. id .. '","generation":' .. generation ..
      ',"session":"' .. session .. '","cause":"' .. cause .. '"}'), now)
  else
    redis.call('HDEL', RECORDS, field)
    append(revision, field, 'lost', session)
  end
  redis.call('ZREM', OWNED, session .. '/' .. field)
end

-- sweep ends the sessions that are due. A deadline of 0 is that of a session that was closed.
-- False: there is more to do. A server that takes no writes still answers reads.
local function sweep(now)
  local left = SWEEP_AT_ONCE
  while true do
    local due = redis.call('ZRANGEBYSCORE', SESSIONS, '-inf', text(now), 'WITHSCORES', 'LIMIT', 0, 1)
    if not due[1] or not writable() then return true end
    local session, cause = due[1], 'expired'
    if due[2] == '0' then cause = 'deregistered' end
    local owned = redis.call('ZRANGEBYLEX', OWNED, '[' .. session .. '/', '(' .. session .. '0', 'LIMIT', 0, left)
    for _, member in ipairs(owned) do
      remove(session, member:sub(#session + 2), cause, now)
    end
    left = left - #owned
    if left <= 0 then return false end
    redis.call('ZADD', ENDED, text(now + 86400000), session)
    redis.call('ZREM', SESSIONS, session)
    redis.call('HDEL', ABOUT, session)
  end
end

-- forget drops what was remembered for long enough.
local function forget(now)
  local fields = redis.call('ZRANGEBYSCORE', FORGET, '-inf', text(now), 'LIMIT', 0, FORGET_AT_ONCE)
  if fields[1] then
    redis.call('HDEL', TOMBSTONES, unpack(fields))
    redis.call('ZREM', FORGET, unpack(fields))
  end
  redis.call('ZREMRANGEBYSCORE', ENDED, '-inf', text(now))
end

-- enter refuses a caller whose epoch or server is not this one, and sweeps: no operation sees a
-- session that should have ended. It returns a refusal, or the time.
local function enter()
  local s = server()
  if s.role == 'slave' then return { 'replica' } end
  local meta = redis.call('HMGET', META, 'epoch', 'replid')
  if meta[1] ~= ARGV[1] or s.id ~= '' and (meta[2] ~= s.id or ARGV[2] ~= s.id) then return { 'life' } end
  local now = clock()
  if not sweep(now) then return { 'again' } end
  return nil, now
end

-- open tells whether a session is open. One that is over and stands there could not be swept: an
-- error, as a server that is restarted before it takes writes gives it its time again.
local function open(session, now)
  local deadline = redis.call('ZSCORE', SESSIONS, session)
  if not deadline then return false end
  if tonumber(deadline) <= now then touch() end
  return tonumber(deadline) > now
end

local function revision() return redis.call('HGET', META, 'revision') or '0' end
