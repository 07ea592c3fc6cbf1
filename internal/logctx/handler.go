package logctx

import (
	"context"
	"log/slog"
)

// Handler gives next each record with what its context carries, but for attributes that the record has already: no part of the program has to
// remember to say which request it speaks of. Within an open group they stand in the group.
func Handler(next slog.Handler) slog.Handler { return handler{next} }

type handler struct{ next slog.Handler }

// Enabled is next's.
func (h handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// WithAttrs is as slog asks for.
func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler { return handler{h.next.WithAttrs(attrs)} }

// WithGroup is as slog asks for.
func (h handler) WithGroup(name string) slog.Handler { return handler{h.next.WithGroup(name)} }

// Handle adds the attributes.
func (h handler) Handle(ctx context.Context, r slog.Record) error {
	attrs := From(ctx).Attrs()
	if len(attrs) == 0 {
		return h.next.Handle(ctx, r)
	}
	has := map[string]bool{}
	r.Attrs(func(a slog.Attr) bool {
		has[a.Key] = true
		return true
	})
	r = r.Clone() // others hold it too
	for _, a := range attrs {
		if !has[a.Key] {
			r.AddAttrs(a)
		}
	}
	return h.next.Handle(ctx, r)
}
