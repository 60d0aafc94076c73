-- Takes back hits that Redis has counted and that were pardoned while it was away.
--
-- KEYS     the counters
-- ARGV     now; then for each counter how many hits
--
-- The form of a counter is that of hit.lua. One whose window has ended meanwhile is not touched: it counts others.

local now = tonumber(ARGV[1])

for i, key in ipairs(KEYS) do
    local hits, told, ends = string.match(redis.call('GET', key) or '', '^(%d+) ([01]) (%-?%d+)$')
    if hits and now < tonumber(ends) then
        local left = tonumber(hits) - tonumber(ARGV[i + 1])
        if left > 0 then
            local lasts = math.max(redis.call('PTTL', key), 1)
            redis.call('SET', key, string.format('%.0f %s %s', left, told, ends), 'PX', string.format('%.0f', lasts))
        else
            redis.call('DEL', key)
        end
    end
end
return #KEYS
