package websession

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"gatehouse/authsvc"
	"gatehouse/event"
)

// Epochs tells the epoch of a user who may sign in, and authsvc.ErrNoSession for any other: authsvc.Store does. It is asked whenever a
// session is read, so that what ends sessions in the database ends those in Redis in the same moment.
type Epochs interface {
	UserEpoch(ctx context.Context, userID uint32) (int64, error)
}

// Redis keeps sessions in Redis, which forgets them by itself when they are over. Each is a hash; a sorted set per user lists theirs.
type Redis struct {
	client redis.UniversalClient
	prefix string
	epochs Epochs
	now    func() time.Time
}

// NewRedis makes a Redis on a client, which stays its caller's. Names of keys begin with prefix; in a Redis cluster it must hold a hash tag, such as
// "{gatehouse}:", since a session and its user's list change together.
func NewRedis(client redis.UniversalClient, prefix string, epochs Epochs, now func() time.Time) *Redis {
	return &Redis{client: client, prefix: prefix, epochs: epochs, now: now}
}

func (r *Redis) key(hash string) string { return r.prefix + "session:" + hash }

func (r *Redis) list(userID uint32) string {
	return r.prefix + "sessions_of:" + strconv.FormatUint(uint64(userID), 10)
}

// putScript: KEYS the new key and the old one (or ”), ARGV the prefix, the new hash, the old hash, the time to live in ms, when it ends, now, then the fields. A
// session that is to be replaced and is gone stays gone.
var putScript = redis.NewScript(`
local prefix, hash, old = ARGV[1], ARGV[2], ARGV[3]
if old ~= '' then
  local user = redis.call('HGET', KEYS[2], 'user')
  if not user then return 0 end
  redis.call('DEL', KEYS[2])
  if user ~= '0' then redis.call('ZREM', prefix .. 'sessions_of:' .. user, old) end
end
redis.call('HSET', KEYS[1], unpack(ARGV, 7))
redis.call('PEXPIRE', KEYS[1], ARGV[4])
local user = redis.call('HGET', KEYS[1], 'user')
if user ~= '0' then
  local list = prefix .. 'sessions_of:' .. user
  redis.call('ZREMRANGEBYSCORE', list, '-inf', ARGV[6])
  redis.call('ZADD', list, ARGV[5], hash)
  if redis.call('PTTL', list) < tonumber(ARGV[4]) then redis.call('PEXPIRE', list, ARGV[4]) end
end
return 1
`)

// touchScript: KEYS the session, ARGV prefix, hash, time to live, last seen, when it ends, address.
var touchScript = redis.NewScript(`
local user = redis.call('HGET', KEYS[1], 'user')
if not user then return 0 end
redis.call('HSET', KEYS[1], 'seen', ARGV[4], 'expires', ARGV[5], 'ip', ARGV[6])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
if user ~= '0' then
  local list = ARGV[1] .. 'sessions_of:' .. user
  redis.call('ZADD', list, ARGV[5], ARGV[2])
  if redis.call('PTTL', list) < tonumber(ARGV[3]) then redis.call('PEXPIRE', list, ARGV[3]) end
end
return 1
`)

// deleteScript: KEYS the session, ARGV prefix, hash.
var deleteScript = redis.NewScript(`
local user = redis.call('HGET', KEYS[1], 'user')
redis.call('DEL', KEYS[1])
if user and user ~= '0' then redis.call('ZREM', ARGV[1] .. 'sessions_of:' .. user, ARGV[2]) end
return 1
`)

// deleteAllScript: KEYS the user's list, ARGV prefix, the hash to keep or ”.
var deleteAllScript = redis.NewScript(`
for _, hash in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if hash ~= ARGV[2] then
    redis.call('DEL', ARGV[1] .. 'session:' .. hash)
    redis.call('ZREM', KEYS[1], hash)
  end
end
return 1
`)

func redisError(err error) error {
	return event.Wrap(event.CodeUnavailable, err, "sessions cannot be read or written at this moment: try again")
}

// Session is as authsvc.Store has it.
func (r *Redis) Session(ctx context.Context, idHash string) (authsvc.SessionRow, error) {
	fields, err := r.client.HGetAll(ctx, r.key(idHash)).Result()
	if err != nil {
		return authsvc.SessionRow{}, redisError(err)
	}
	row, ok := readFields(idHash, fields)
	if !ok {
		return authsvc.SessionRow{}, authsvc.ErrNoSession
	}
	if row.UserID != 0 {
		epoch, err := r.epochs.UserEpoch(ctx, row.UserID)
		if err != nil {
			return authsvc.SessionRow{}, err
		}
		if epoch != row.Epoch {
			return authsvc.SessionRow{}, authsvc.ErrNoSession
		}
	}
	return row, nil
}

// PutSession is as authsvc.Store has it.
func (r *Redis) PutSession(ctx context.Context, replaces string, row authsvc.SessionRow) error {
	if row.UserID != 0 {
		if _, err := r.epochs.UserEpoch(ctx, row.UserID); err != nil {
			return err
		}
	}
	args := append([]any{r.prefix, row.IDHash, replaces, r.life(row.Expires), row.Expires.UnixMilli(), r.now().UnixMilli()}, fields(row)...)
	done, err := putScript.Run(ctx, r.client, []string{r.key(row.IDHash), r.key(replaces)}, args...).Int()
	if err != nil {
		return redisError(err)
	}
	if done == 0 {
		return authsvc.ErrNoSession
	}
	return nil
}

// TouchSession is as authsvc.Store has it.
func (r *Redis) TouchSession(ctx context.Context, idHash string, seen, expires time.Time, address string) error {
	err := touchScript.Run(ctx, r.client, []string{r.key(idHash)}, r.prefix, idHash, r.life(expires), seen.UnixMilli(), expires.UnixMilli(), address).Err()
	if err != nil {
		return redisError(err)
	}
	return nil
}

// DeleteSession is as authsvc.Store has it.
func (r *Redis) DeleteSession(ctx context.Context, idHash string) error {
	if err := deleteScript.Run(ctx, r.client, []string{r.key(idHash)}, r.prefix, idHash).Err(); err != nil {
		return redisError(err)
	}
	return nil
}

// DeleteSessionsOf is as authsvc.Store has it.
func (r *Redis) DeleteSessionsOf(ctx context.Context, userID uint32, except string) error {
	if err := deleteAllScript.Run(ctx, r.client, []string{r.list(userID)}, r.prefix, except).Err(); err != nil {
		return redisError(err)
	}
	return nil
}

// SessionsOf is as authsvc.Store has it.
func (r *Redis) SessionsOf(ctx context.Context, userID uint32, now time.Time) ([]authsvc.SessionRow, error) {
	epoch, err := r.epochs.UserEpoch(ctx, userID)
	if errors.Is(err, authsvc.ErrNoSession) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	hashes, err := r.client.ZRangeByScore(ctx, r.list(userID), &redis.ZRangeBy{Min: "(" + strconv.FormatInt(now.UnixMilli(), 10), Max: "+inf"}).Result()
	if err != nil {
		return nil, redisError(err)
	}
	answers := make([]*redis.MapStringStringCmd, len(hashes))
	if _, err := r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, hash := range hashes {
			answers[i] = p.HGetAll(ctx, r.key(hash))
		}
		return nil
	}); err != nil {
		return nil, redisError(err)
	}
	var list []authsvc.SessionRow
	for i, hash := range hashes {
		if row, ok := readFields(hash, answers[i].Val()); ok && row.UserID == userID && row.Epoch == epoch && row.Expires.After(now) {
			list = append(list, row)
		}
	}
	slices.SortFunc(list, func(a, b authsvc.SessionRow) int {
		return cmp.Or(b.LastSeen.Compare(a.LastSeen), cmp.Compare(a.IDHash, b.IDHash))
	})
	return list, nil
}

// PurgeSessions has nothing to do: Redis forgets by itself.
func (r *Redis) PurgeSessions(context.Context, time.Time) (int64, error) { return 0, nil }

// life is how long Redis keeps a session, in milliseconds.
func (r *Redis) life(expires time.Time) int64 { return max(1, expires.Sub(r.now()).Milliseconds()) }

// fields is a row as a Redis hash.
func fields(row authsvc.SessionRow) []any {
	return []any{
		"user", row.UserID, "epoch", row.Epoch, "data", row.Data, "created", row.Created.UnixMilli(), "seen", row.LastSeen.UnixMilli(),
		"expires", row.Expires.UnixMilli(), "ip", row.Address, "agent", row.Agent,
	}
}

// readFields is the reverse of fields. An empty hash is none; one that lacks something was not written by us.
func readFields(idHash string, f map[string]string) (authsvc.SessionRow, bool) {
	row := authsvc.SessionRow{IDHash: idHash, Data: f["data"], Address: f["ip"], Agent: f["agent"]}
	user, err := strconv.ParseUint(f["user"], 10, 32)
	if err != nil {
		return row, false
	}
	row.UserID = uint32(user)
	var created, seen, expires int64
	for name, to := range map[string]*int64{"epoch": &row.Epoch, "created": &created, "seen": &seen, "expires": &expires} {
		if *to, err = strconv.ParseInt(f[name], 10, 64); err != nil {
			return row, false
		}
	}
	row.Created, row.LastSeen, row.Expires = time.UnixMilli(created).UTC(), time.UnixMilli(seen).UTC(), time.UnixMilli(expires).UTC()
	return row, true
}
