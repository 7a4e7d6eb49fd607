-- position.lua: how far the store is, and in how many ms the next session is due (-1: none, or
-- one that is over already, which a server that takes no writes keeps). Every process that watches
-- asks now and then, so what shall be forgotten is forgotten here.
local refused, now = enter()
if refused then return refused end
local writes, replica = writable()
if writes then forget(now) end
if replica then return { 'replica' } end -- of which enter does not know without INFO
local due = redis.call('ZRANGE', SESSIONS, 0, 0, 'WITHSCORES')
return { 'ok', revision(), due[2] and math.max(-1, due[2] - now) or -1 }
