-- Tells Redis what counters stand at no less than, by what an instance knows and Redis may not.
--
-- KEYS     the counters
-- ARGV     now; then for each counter what it stands at, and how many milliseconds of that are left
--
-- The form of a counter is that of hit.lua.

local now = tonumber(ARGV[1])

local function live(text)
    local hits, told, ends = string.match(text or '', '^(%d+) ([01]) (%-?%d+)$')
    if hits and now < tonumber(ends) then
        return { hits = tonumber(hits), told = told, ends = ends }
    end
end

for i, key in ipairs(KEYS) do
    local floor = live(ARGV[i * 2])
    if floor then
        local count = live(redis.call('GET', key)) or floor
        local hits, told = math.max(count.hits, floor.hits), math.max(count.told, floor.told)
        local ends = tonumber(count.ends) < tonumber(floor.ends) and floor.ends or count.ends
        local left = math.max(redis.call('PTTL', key), tonumber(ARGV[i * 2 + 1]))
        redis.call('SET', key, string.format('%.0f %d %s', hits, told, ends), 'PX', string.format('%.0f', left))
    end
end
return #KEYS
