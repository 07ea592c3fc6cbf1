package authsvc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"strings"

	"gatehouse/internal/logctx"
)

// Names of attributes that are columns: which part of the program speaks, and a stack that was taken where it was still there.
const (
	attrLogger    = "logger"
	attrComponent = "component"
	attrStack     = "stack"
)

// Handler gives next what a logger says, and keeps a copy of what the rules ask for. Attributes named "logger" or "component" say
// which part of the program speaks; a request's id, person and address come from the context (package logctx).
func (l *ErrorLog) Handler(next slog.Handler) slog.Handler { return &errorHandler{log: l, next: next} }

type errorHandler struct {
	log    *ErrorLog
	next   slog.Handler
	prefix string      // of the open groups, each with a dot
	attrs  []slog.Attr // with their groups' names before theirs
	logger string
}

// Enabled is true for what either side wants.
func (h *errorHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= h.log.rules.Load().lowest || h.next.Enabled(ctx, level)
}

// WithAttrs is as slog asks for.
func (h *errorHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.next = h.next.WithAttrs(attrs)
	c.attrs = h.attrs[:len(h.attrs):len(h.attrs)]
	for _, a := range attrs {
		if h.prefix == "" && (a.Key == attrLogger || a.Key == attrComponent) {
			c.logger = a.Value.Resolve().String()
			continue
		}
		a.Key = h.prefix + a.Key
		c.attrs = append(c.attrs, a)
	}
	return &c
}

// WithGroup is as slog asks for.
func (h *errorHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	c := *h
	c.next = h.next.WithGroup(name)
	c.prefix += name + "."
	return &c
}

// Handle passes the record on and keeps it where the rules say so. It does not wait for the database.
func (h *errorHandler) Handle(ctx context.Context, r slog.Record) error {
	if rules := h.log.rules.Load(); r.Level >= rules.lowest {
		h.keep(ctx, &r, rules)
	}
	if !h.next.Enabled(ctx, r.Level) {
		return nil
	}
	return h.next.Handle(ctx, r)
}

func (h *errorHandler) keep(ctx context.Context, r *slog.Record, rules *errorRules) {
	logger, cause, stack := h.logger, firstError(h.attrs), ""
	r.Attrs(func(a slog.Attr) bool {
		switch {
		case h.prefix == "" && (a.Key == attrLogger || a.Key == attrComponent):
			logger = a.Value.Resolve().String()
		case a.Key == attrStack:
			stack = textOf(a.Value)
		case cause == "":
			cause = firstError([]slog.Attr{a})
		}
		return true
	})
	if !rules.keeps(r.Level, logger) {
		return
	}
	logger = clip(scrub(logger), 100)
	message := clip(scrub(r.Message), 2000)
	fingerprint := fingerprintOf(r.Level, logger, message, firstLine(cause))
	at := millis(r.Time)
	if r.Time.IsZero() {
		at = millis(h.log.now())
	}
	h.log.add(fingerprint, at, func() *errorRow {
		f := logctx.From(ctx)
		row := &errorRow{
			first: at, last: at, occurrences: 1, level: r.Level, logger: logger, message: message, fingerprint: fingerprint,
			requestID: clip(scrub(f.RequestID), 64), userID: int64(f.UserID), attributes: h.attributes(r),
		}
		if f.Address.IsValid() {
			row.ip = f.Address.Unmap().WithZone("").String()
		}
		if r.Level >= slog.LevelError {
			if stack == "" {
				stack = callers(r.PC)
			}
			row.stack = clip(scrub(stack), maxErrorStack)
		}
		return row
	})
}

// fingerprintOf is the same for records that tell of the same.
func fingerprintOf(level slog.Level, logger, message, cause string) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{level.String(), logger, message, cause}, "\x00")))
	return hex.EncodeToString(sum[:])
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// firstError is the text of the first attribute that holds an error.
func firstError(attrs []slog.Attr) string {
	for _, a := range attrs {
		if err, ok := a.Value.Any().(error); ok && err != nil {
			return textOf(a.Value)
		}
	}
	return ""
}

// droppedFingerprint is that of the row that tells how many records were not kept.
const droppedFingerprint = "dropped"

func droppedRow(n, at int64) *errorRow {
	return &errorRow{
		first: at, last: at, occurrences: n, level: slog.LevelWarn, logger: "errorlog", fingerprint: droppedFingerprint, attributes: "{}",
		message: "more different records came than could be kept until they were written: as many as this row counts were dropped",
	}
}
