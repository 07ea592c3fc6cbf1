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
local interval, size = tonumber(ARGV[1]), tonumber(ARGV[2])
local now = tonumber(ARGV[3])
if not now then
  local t = redis.call('TIME')
  now = tonumber(t[1]) * 1000000 + tonumber(t[2])
end
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local next = full + interval
local wait = next - size - now
if wait > 0 then
  return {0, 0, string.format('%.0f', full - now), string.format('%.0f', wait)}
end
redis.call('SET', KEYS[1], string.format('%.0f', next), 'PX', math.ceil((next - now) / 1000) + 1)
return {1, math.floor((size - (next - now)) / interval), string.format('%.0f', next - now), '0'}
`)

// Take takes a token. An error means that Redis did not answer.
func (r *Redis) Take(ctx context.Context, key string, rate Rate) (Result, error) {
	if rate.None() {
		return Result{Allowed: true}, nil
	}
	now := ""
	if r.now != nil {
		now = fmt.Sprint(r.now().UnixMicro())
	}
	interval := rate.interval()
	v, err := takeScript.Run(ctx, r.client, []string{r.prefix + key}, interval, interval*int64(rate.Count), now).Slice()
	if err != nil {
		return Result{}, fmt.Errorf("count in Redis: %w", err)
	}
	var allowed, remaining, reset, retry int64
	for i, p := range []*int64{&allowed, &remaining, &reset, &retry} {
		if i >= len(v) {
			return Result{}, fmt.Errorf("count in Redis: it answered with %d values", len(v))
		}
		if _, err := fmt.Sscan(fmt.Sprint(v[i]), p); err != nil {
			return Result{}, fmt.Errorf("count in Redis: it answered %v: %w", v[i], err)
		}
	}
	return Result{
		Allowed: allowed == 1, Limit: rate.Count, Remaining: int(remaining),
		Reset: time.Duration(reset) * time.Microsecond, Retry: time.Duration(retry) * time.Microsecond,
	}, nil
}
