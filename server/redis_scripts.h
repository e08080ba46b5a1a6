// The changes and reads of RedisStore as Lua scripts. Keys of a session: KEYS[1] its record (a
// hash: tenant, gen, owner, created, meta, expires), KEYS[2] its log (one string, 4 bytes per
// token), KEYS[3] its snapshots (a hash, position -> bytes). Indexes: PREFIX:t:TENANT (ids in
// order) and PREFIX:x (ids by expiry). A script answers with a list whose first element says what
// happened: OK, MISSING, EXISTS, FENCED generation owner, HOLE position length, CONFLICT,
// RANGE length.
#ifndef ELA_SERVER_REDIS_SCRIPTS_H_
#define ELA_SERVER_REDIS_SCRIPTS_H_

namespace ela {

// -> OK tenant gen owner created meta num_log_bytes [position num_bytes]...
#define ELA_REDIS_RECORD                                                                    \
  "local function record()\n"                                                               \
  "  local h = redis.call('HMGET', KEYS[1], 'tenant', 'gen', 'owner', 'created', 'meta')\n" \
  "  if not h[2] then return {'MISSING'} end\n"                                             \
  "  local reply = {'OK', h[1], h[2], h[3], h[4], h[5], redis.call('STRLEN', KEYS[2])}\n"   \
  "  for _, p in ipairs(redis.call('HKEYS', KEYS[3])) do\n"                                 \
  "    reply[#reply + 1] = p\n"                                                             \
  "    reply[#reply + 1] = redis.call('HSTRLEN', KEYS[3], p)\n"                             \
  "  end\n"                                                                                 \
  "  return reply\n"                                                                        \
  "end\n"

inline constexpr char kRedisRead[] = ELA_REDIS_RECORD "return record()";

// ARGV: expected generation or -1, owner. -> as kRedisRead.
inline constexpr char kRedisAcquire[] = ELA_REDIS_RECORD R"(
local h = redis.call('HMGET', KEYS[1], 'gen', 'owner')
if not h[1] then return {'MISSING'} end
local repeated = ARGV[2] ~= '' and h[2] == ARGV[2] and tonumber(h[1]) == tonumber(ARGV[1]) + 1
if not repeated then
  if ARGV[1] ~= '-1' and ARGV[1] ~= h[1] then return {'FENCED', h[1], h[2]} end
  redis.call('HINCRBY', KEYS[1], 'gen', 1)
  redis.call('HSET', KEYS[1], 'owner', ARGV[2])
end
return record())";

// KEYS[4]: the tenant's index, KEYS[5]: PREFIX:x. ARGV: tenant, owner, created, meta, expires
// (empty: never), id.
inline constexpr char kRedisCreate[] = R"(
local h = redis.call('HMGET', KEYS[1], 'tenant', 'owner', 'created', 'gen')
if h[4] then
  local repeated = h[1] == ARGV[1] and h[2] == ARGV[2] and h[3] == ARGV[3] and h[4] == '1' and
      redis.call('EXISTS', KEYS[2], KEYS[3]) == 0
  return {repeated and 'OK' or 'EXISTS'}
end
redis.call('HSET', KEYS[1], 'tenant', ARGV[1], 'owner', ARGV[2], 'created', ARGV[3],
           'meta', ARGV[4], 'gen', 1)
redis.call('DEL', KEYS[2], KEYS[3])
redis.call('ZADD', KEYS[4], 0, ARGV[6])
if ARGV[5] ~= '' then redis.call('ZADD', KEYS[5], ARGV[5], ARGV[6]) end
return {'OK'})";

// KEYS[4]: PREFIX:x. ARGV: generation, log position, rewind (0 or 1), tokens, change of meta (0 or
// 1), meta, expires, release (0 or 1), id, number of snapshots to put, their positions and bytes,
// positions of those to delete.
inline constexpr char kRedisWrite[] = R"(
local h = redis.call('HMGET', KEYS[1], 'gen', 'owner')
if not h[1] then return {'MISSING'} end
if h[1] ~= ARGV[1] then return {'FENCED', h[1], h[2]} end
local length = redis.call('STRLEN', KEYS[2])
local from, tokens, rewind = 4 * tonumber(ARGV[2]), ARGV[4], ARGV[3] == '1'
local finish, overlap = length, 0
if rewind or #tokens > 0 then
  if from > length then return {'HOLE', ARGV[2], length / 4} end
  if rewind then
    finish = from + #tokens
  else
    overlap = math.min(length - from, #tokens)
    finish = math.max(length, from + #tokens)
    if overlap > 0 and redis.call('GETRANGE', KEYS[2], from, from + overlap - 1) ~=
        string.sub(tokens, 1, overlap) then return {'CONFLICT'} end
  end
end
local puts = tonumber(ARGV[10])
for i = 0, puts - 1 do
  local position = ARGV[11 + 2 * i]
  if 4 * tonumber(position) > finish then return {'HOLE', position, finish / 4} end
end
-- When memory is full, Redis refuses the first change of a script if it takes memory, and no later
-- one: so this one comes first.
if rewind or #tokens > 0 or puts > 0 or ARGV[5] == '1' or ARGV[8] == '1' then
  redis.call('HSET', KEYS[1], 'gen', h[1])
end
if rewind then
  if from == 0 then
    redis.call('DEL', KEYS[2])
  elseif from < length then
    redis.call('SET', KEYS[2], redis.call('GETRANGE', KEYS[2], 0, from - 1))
  end
  for _, p in ipairs(redis.call('HKEYS', KEYS[3])) do
    if 4 * tonumber(p) > from then redis.call('HDEL', KEYS[3], p) end
  end
end
if #tokens > overlap then
  redis.call('APPEND', KEYS[2], overlap == 0 and tokens or string.sub(tokens, overlap + 1))
end
for i = 0, puts - 1 do
  redis.call('HSET', KEYS[3], ARGV[11 + 2 * i], ARGV[12 + 2 * i])
end
for i = 11 + 2 * puts, #ARGV do redis.call('HDEL', KEYS[3], ARGV[i]) end
if ARGV[5] == '1' then
  redis.call('HSET', KEYS[1], 'meta', ARGV[6])
  if ARGV[7] == '' then
    redis.call('ZREM', KEYS[4], ARGV[9])
  else
    redis.call('ZADD', KEYS[4], ARGV[7], ARGV[9])
  end
end
if ARGV[8] == '1' then redis.call('HSET', KEYS[1], 'owner', '') end
return {'OK'})";

// ARGV: begin, end.
inline constexpr char kRedisReadTokens[] = R"(
if redis.call('EXISTS', KEYS[1]) == 0 then return {'MISSING'} end
local length = redis.call('STRLEN', KEYS[2])
local from, to = 4 * tonumber(ARGV[1]), 4 * tonumber(ARGV[2])
if from < 0 or to < from or to > length then return {'RANGE', length / 4} end
if from == to then return {'OK', ''} end
return {'OK', redis.call('GETRANGE', KEYS[2], from, to - 1)})";

// KEYS[4]: PREFIX:x. ARGV: generation or -1, id, PREFIX:t: .
inline constexpr char kRedisDelete[] = R"(
local h = redis.call('HMGET', KEYS[1], 'gen', 'owner', 'tenant')
if not h[1] then return {'OK'} end
if ARGV[1] ~= '-1' and ARGV[1] ~= h[1] then return {'FENCED', h[1], h[2]} end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
redis.call('ZREM', ARGV[3] .. h[3], ARGV[2])
redis.call('ZREM', KEYS[4], ARGV[2])
return {'OK'})";

// KEYS[1]: PREFIX:x. ARGV: now, limit, PREFIX:t:, PREFIX. -> ids
inline constexpr char kRedisSweep[] = R"(
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, id in ipairs(ids) do
  local session = ARGV[4] .. ':{' .. id .. '}:'
  local tenant = redis.call('HGET', session .. 'r', 'tenant')
  if tenant then redis.call('ZREM', ARGV[3] .. tenant, id) end
  redis.call('UNLINK', session .. 'r', session .. 'l', session .. 's')
  redis.call('ZREM', KEYS[1], id)
end
return ids)";

}  // namespace ela

#endif  // ELA_SERVER_REDIS_SCRIPTS_H_
