-- health.lua: every command that the scripts use, such that it changes nothing. A server that takes
-- no writes refuses the first, and a user who lacks a permission is told now rather than later.
local refused = enter()
if refused then return refused end
redis.call('HSET', META, 'v', 1)
redis.call('HINCRBY', META, 'revision', 0)
redis.call('HDEL', META, '')
redis.call('HLEN', META)
redis.call('HGETALL', META)
redis.call('ZADD', SESSIONS, 'XX', 0, '')
redis.call('ZREM', SESSIONS, '')
redis.call('ZSCORE', SESSIONS, '')
redis.call('ZRANGE', SESSIONS, 0, 0)
redis.call('ZRANGEBYLEX', OWNED, '[/', '(/')
redis.call('ZREMRANGEBYSCORE', ENDED, '-inf', '(0')
redis.call('EXISTS', LOG)
redis.call('UNLINK', LOG .. ':')
local answer = redis.pcall('XADD', LOG, 'NOMKSTREAM', 'MAXLEN', '~', ARGV[3], '0-0', 'no', 'id')
if type(answer) == 'table' and answer.err and not answer.err:find('ID specified in XADD', 1, true) then return answer end
return { 'ok', revision() }
