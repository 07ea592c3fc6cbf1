package limit

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Redis keeps buckets in Redis, for servers that count together. Time is that of the Redis server, so that clocks which differ do not matter.
type Redis struct {
	client redis.UniversalClient
	prefix string
	now    func() time.Time // tests only; nil: the Redis server's
}

// NewRedis makes a Redis on a client, which stays its caller's. Names of keys begin with prefix.
func NewRedis(client redis.UniversalClient, prefix string) *Redis {
	return &Redis{client: client, prefix: prefix}
}

// takeScript is gcra in Lua. Its numbers are doubles, which hold microseconds since 1970 exactly until the year 2255. A bucket that is full again
// need not be kept, so the key lives until then.
var takeScript = redis.NewScript(`
local interval, count, per = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local least, most = tonumber(ARGV[4]), tonumber(ARGV[5])
local now = tonumber(ARGV[6])
if not now then
  local t = redis.call('TIME')
  now = tonumber(t[1]) * 1000000 + tonumber(t[2])
end
local size = interval * count
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local room = size - (full - now)
local wait = math.ceil(math.min(least, count) * per / count) - room
if wait > 0 then
  return {0, math.max(0, math.floor(room / interval)), string.format('%.0f', full - now), string.format('%.0f', wait)}
end
local taken = least
if most > least then
  taken = math.min(most, math.max(least, math.floor(room / interval)))
end
local next = full + math.max(1, math.ceil(taken * per / count))
redis.call('SET', KEYS[1], string.format('%.0f', next), 'PX', math.ceil((next - now) / 1000) + 1)
return {taken, math.floor(math.max(0, size - (next - now)) / interval), string.format('%.0f', next - now), '0'}
`)

// Take takes a token. An error means that Redis did not answer.
func (r *Redis) Take(ctx context.Context, key string, rate Rate) (Result, error) {
	_, result, err := r.TakeLot(ctx, key, rate, 1, 1)
	return result, err
}

// TakeLot takes several tokens. An error means that Redis did not answer.
func (r *Redis) TakeLot(ctx context.Context, key string, rate Rate, least, most int) (int, Result, error) {
	if rate.None() {
		return most, Result{Allowed: true}, nil
	}
	now := ""
	if r.now != nil {
		now = fmt.Sprint(r.now().UnixMicro())
	}
	v, err := takeScript.Run(ctx, r.client, []string{r.prefix + key}, rate.interval(), rate.Count, rate.Per.Microseconds(), least, most, now).Slice()
	if err != nil {
		return 0, Result{}, fmt.Errorf("count in Redis: %w", err)
	}
	var taken, remaining, reset, retry int64
	for i, p := range []*int64{&taken, &remaining, &reset, &retry} {
		if i >= len(v) {
			return 0, Result{}, fmt.Errorf("count in Redis: it answered with %d values", len(v))
		}
		if _, err := fmt.Sscan(fmt.Sprint(v[i]), p); err != nil {
			return 0, Result{}, fmt.Errorf("count in Redis: it answered %v: %w", v[i], err)
		}
	}
	return int(taken), Result{
		Allowed: taken > 0, Limit: rate.Count, Remaining: int(remaining),
		Reset: time.Duration(reset) * time.Microsecond, Retry: time.Duration(retry) * time.Microsecond,
	}, nil
}
