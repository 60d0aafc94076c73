-- Corrects counters, as `auth_domain::throttle::Pardon::apply` does.
--
-- KEYS     the number of the last answer, then the counters
-- ARGV     for each counter: 'one' or 'all', what it stands at no less than, or '', and how many milliseconds of that
--          are left
-- Answers  the answer's number, then how each counter stands: '' is nothing.
--
-- The form of a counter is that of hit.lua.

local function read(text)
    local hits, told, ends = string.match(text or '', '^(%d+) ([01]) (%-?%d+)$')
    if hits then
        return { hits = tonumber(hits), told = told, ends = ends }
    end
end

local function at_least(count, floor)
    if not (count and floor) then
        return count or floor
    end
    return {
        hits = math.max(count.hits, floor.hits),
        told = math.max(count.told, floor.told),
        ends = tonumber(count.ends) < tonumber(floor.ends) and floor.ends or count.ends,
    }
end

local number = redis.call('INCR', KEYS[1])
redis.call('EXPIRE', KEYS[1], 172800)
local answer = { string.format('%.0f', number) }
for i = 2, #KEYS do
    local key, at = KEYS[i], (i - 2) * 3 + 1
    local count = at_least(read(redis.call('GET', key)), read(ARGV[at + 1]))
    local left = math.max(redis.call('PTTL', key), tonumber(ARGV[at + 2]))
    if ARGV[at] == 'all' or not count or count.hits <= 1 or left <= 0 then
        redis.call('DEL', key)
        answer[i] = ''
    else
        answer[i] = string.format('%.0f %d %s', count.hits - 1, count.told, count.ends)
        redis.call('SET', key, answer[i], 'PX', string.format('%.0f', left))
    end
end
return answer
