-- health.lua: a write that changes nothing. A server that takes none refuses it.
local refused = enter()
if refused then return refused end
redis.call('HSET', META, 'v', 1)
return { 'ok', revision() }
