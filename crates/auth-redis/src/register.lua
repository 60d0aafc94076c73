-- Notes that an instance is there, and tells how many are.
--
-- KEYS     the instances
-- ARGV     the name of this one, and after how many silent seconds one is taken for gone
--
-- The time is that of Redis, so that the instances' clocks need not agree.

local now = tonumber(redis.call('TIME')[1])
local patience = tonumber(ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%.0f', now - patience))
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('EXPIRE', KEYS[1], patience)
return redis.call('ZCARD', KEYS[1])
