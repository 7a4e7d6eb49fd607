-- position.lua: how far the store is, and in how many ms the next session is due (-1: none).
-- Every process that watches asks now and then, so what shall be forgotten is forgotten here.
local refused, now = enter()
if refused then return refused end
forget(now)
local due = redis.call('ZRANGE', SESSIONS, 0, 0, 'WITHSCORES')
return { 'ok', revision(), due[2] and math.max(0, due[2] - now) or -1 }
