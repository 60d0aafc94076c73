-- Judges one request by all of its counters at once, as `auth_domain::throttle::judge` does by each.
--
-- KEYS     the number of the last answer, then the counters
-- ARGV     now; then for each counter: its limit, 'fixed' or 'restarts', the end of a window that starts now, the
--          window in milliseconds, and what the counter stands at no less than, or ''
-- Answers  'room', 'first' (a refusal, the first of its window) or 'told' (a later one); the answer's number; then
--          the standing of each counter that was looked at: of a refusal the full one is the last.
--
-- A counter is kept as 'HITS TOLD END'. Times are microseconds since 1970. They stay below 2^53 until the year 2255, so
-- that Lua, whose numbers are doubles, compares them exactly; but it prints only 14 digits of a number, so an end is
-- kept as the text it came in.

local now = tonumber(ARGV[1])

-- What has ended is nothing.
local function live(text)
    local hits, told, ends = string.match(text or '', '^(%d+) ([01]) (%-?%d+)$')
    if hits and now < tonumber(ends) then
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

local function text(count)
    return string.format('%.0f %d %s', count.hits, count.told, count.ends)
end

-- The end is in the text. Redis forgets a counter a second later, and never later than a window from now, so that
-- neither a clock that drifts nor one that is set back leaves anything behind for long.
local function keep(counter)
    local left = math.min(math.ceil((tonumber(counter.count.ends) - now) / 1000), counter.window) + 1000
    redis.call('SET', counter.key, text(counter.count), 'PX', string.format('%.0f', left))
end

local verdict, judged = 'room', {}
for i = 2, #KEYS do
    local at = (i - 2) * 5 + 2
    local fresh, floor = ARGV[at + 2], live(ARGV[at + 4])
    local counter = {
        key = KEYS[i],
        limit = tonumber(ARGV[at]),
        ends = ARGV[at + 1] == 'restarts' and fresh,
        window = tonumber(ARGV[at + 3]),
        has_floor = floor,
        count = at_least(live(redis.call('GET', KEYS[i])), floor) or { hits = 0, told = 0, ends = fresh },
    }
    judged[#judged + 1] = counter
    if counter.count.hits >= counter.limit then
        verdict = tonumber(counter.count.told) == 1 and 'told' or 'first'
        counter.count.told = 1
        keep(counter)
        break
    end
end

for _, counter in ipairs(judged) do
    local count = counter.count
    if verdict == 'room' then
        count.hits = count.hits + 1
        count.ends = counter.ends or count.ends
        keep(counter)
    elseif counter.has_floor then
        keep(counter)
    end
end

local number = redis.call('INCR', KEYS[1])
redis.call('EXPIRE', KEYS[1], 172800)
local answer = { verdict, string.format('%.0f', number) }
for _, counter in ipairs(judged) do
    answer[#answer + 1] = text(counter.count)
end
return answer
