// Package logctx carries what a log record should say of the request that it belongs to: which one it is, by whom and from
// where. The edge puts the request in, whoever recognises the caller the caller; log handlers read it. Nothing decides by it: who may
// do what is a parameter, never a value of a context.
package logctx

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
)

// Fields are the parts that are known so far; the zero value of each stands for "not known".
type Fields struct {
	RequestID string
	UserID    uint32
	User      string // the name that goes with UserID
	Via       string // which session, token or key it came with, by a name that is no secret
	Address   netip.Addr
}

// Request holds the Fields of one request. It changes while the request goes on, so that all who hold its context see who the caller is as soon
// as somebody has found out, those too who had the context before. It is safe for concurrent use.
type Request struct {
	mu     sync.Mutex
	fields Fields
}

// Set replaces the fields.
func (r *Request) Set(f Fields) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fields = f
}

func (r *Request) get() Fields {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fields
}

type key struct{}

// With gives a context whose records carry f in place of what they carried.
func With(ctx context.Context, f Fields) context.Context {
	return context.WithValue(ctx, key{}, &Request{fields: f})
}

// SetCaller tells who sent the request that ctx belongs to; without one it does nothing. Of a key, userID is 0.
func SetCaller(ctx context.Context, userID uint32, user, via string) {
	r, ok := ctx.Value(key{}).(*Request)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fields.UserID, r.fields.User, r.fields.Via = userID, user, via
}

// IsKey tells whether key is the one under which a context carries its *Request: for a type of context that holds it
// itself, as the edge's does, which every event of an agent passes.
func IsKey(k any) bool { return k == key{} }

// From is what ctx carries.
func From(ctx context.Context) Fields {
	if r, ok := ctx.Value(key{}).(*Request); ok {
		return r.get()
	}
	return Fields{}
}

// Attrs are the known parts as attributes of a record.
func (f Fields) Attrs() []slog.Attr {
	var attrs []slog.Attr
	if f.RequestID != "" {
		attrs = append(attrs, slog.String("request_id", f.RequestID))
	}
	if f.UserID != 0 {
		attrs = append(attrs, slog.Uint64("user_id", uint64(f.UserID)))
	}
	if f.Via != "" {
		attrs = append(attrs, slog.String("via", f.Via))
	}
	if f.Address.IsValid() {
		attrs = append(attrs, slog.String("address", f.Address.Unmap().WithZone("").String()))
	}
	return attrs
}
