// Package refusal logs that requests were refused. Whoever is refused can come as often as they like, so it says one line a second of each
// kind at most, and how many it left out: a log that attackers can fill is one in which nobody finds them.
package refusal

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// every is how often refusals of a kind are logged.
const every = time.Second

// Attribute is the name of the attribute that holds the kind: by it others know these records from the rest.
const Attribute = "refusal"

// Log tells of refusals. It is safe for concurrent use.
type Log struct {
	log *slog.Logger
	now func() time.Time

	mu    sync.Mutex
	kinds map[string]*kind
}

// kind are the refusals of a kind since they were last logged.
type kind struct {
	logged  time.Time
	between int
}

// New makes a Log.
func New(log *slog.Logger, now func() time.Time) *Log {
	return &Log{log: log, now: now, kinds: map[string]*kind{}}
}

// Note tells of one refusal. kind is one of a few names of the program's own; by whom and from where says the context (package logctx). No
// attribute may hold what was given as a credential.
func (l *Log) Note(ctx context.Context, kind string, attrs ...slog.Attr) {
	between, due := l.due(kind)
	if !due {
		return
	}
	attrs = append([]slog.Attr{slog.String(Attribute, kind)}, attrs...)
	l.log.LogAttrs(ctx, slog.LevelWarn, "a request was refused", append(attrs, slog.Int("others_since_the_last", between))...)
}

// Request tells of a request that was refused, and why: in words that its sender may read too.
func (l *Log) Request(r *http.Request, kind, reason string) {
	l.Note(r.Context(), kind, slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.String("reason", reason))
}

func (l *Log) due(name string) (between int, due bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.kinds[name]
	if k == nil {
		k = &kind{}
		l.kinds[name] = k
	}
	now := l.now()
	if since := now.Sub(k.logged); since >= 0 && since < every {
		k.between++
		return 0, false
	}
	between = k.between
	k.logged, k.between = now, 0
	return between, true
}
