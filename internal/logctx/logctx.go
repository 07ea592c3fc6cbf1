// Package logctx carries what a log record should say of the request that it belongs to: which one it is, by whom and from
// where. The edge puts the request in, the sign-in the person; log handlers read it. Nothing decides by it: who may do what is
// a parameter, never a value of a context.
package logctx

import (
	"context"
	"log/slog"
	"net/netip"
)

// Fields are the parts that are known so far; the zero value of each stands for "not known".
type Fields struct {
	RequestID string
	UserID    uint32
	User      string // the name that goes with UserID
	Address   netip.Addr
}

type key struct{}

// With gives a context whose records carry f in place of what they carried.
func With(ctx context.Context, f Fields) context.Context { return context.WithValue(ctx, key{}, f) }

// WithUser adds the person to what ctx carries.
func WithUser(ctx context.Context, id uint32, name string) context.Context {
	f := From(ctx)
	f.UserID, f.User = id, name
	return With(ctx, f)
}

// IsKey tells whether key is the one under which a context carries its Fields: for a type of context that holds them
// itself, as the edge's does, which every event of an agent passes.
func IsKey(k any) bool { return k == key{} }

// From is what ctx carries.
func From(ctx context.Context) Fields {
	f, _ := ctx.Value(key{}).(Fields)
	return f
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
	if f.Address.IsValid() {
		attrs = append(attrs, slog.String("address", f.Address.Unmap().WithZone("").String()))
	}
	return attrs
}
