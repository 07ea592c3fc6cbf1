package authsvc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"regexp"
	"strconv"
	"strings"

	"gatehouse/internal/logctx"
	"gatehouse/internal/refusal"
)

// Names of attributes that are columns: which part of the program speaks, and a stack that was taken where it was still there.
const (
	attrLogger    = "logger"
	attrComponent = "component"
	attrStack     = "stack"
	attrPath      = "path"
	attrVia       = "via"
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
		h.keep(ctx, r, rules)
	}
	if !h.next.Enabled(ctx, r.Level) {
		return nil
	}
	return h.next.Handle(ctx, r)
}

func (h *errorHandler) keep(ctx context.Context, r slog.Record, rules *errorRules) {
	logger, cause, stack := h.logger, firstError(h.attrs), ""
	refused, path := "", ""
	r.Attrs(func(a slog.Attr) bool {
		switch {
		case h.prefix == "" && a.Key == refusal.Attribute:
			refused = a.Value.Resolve().String()
		case h.prefix == "" && a.Key == attrPath:
			path = a.Value.Resolve().String()
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
	f := logctx.From(ctx)
	fingerprint := fingerprintOf(r.Level, logger, message, firstLine(cause))
	if refused != "" {
		// All refusals have one message; who was refused what is what tells them apart.
		fingerprint = fingerprintOf(r.Level, logger, message, refused, inLetters(f.UserID), path)
	}
	at := millis(r.Time)
	if r.Time.IsZero() {
		at = millis(h.log.now())
	}
	h.log.add(fingerprint, at, func() *errorRow {
		if f.Via != "" {
			r = r.Clone()
			r.AddAttrs(slog.String(attrVia, f.Via))
		}
		row := &errorRow{
			first: at, last: at, occurrences: 1, level: r.Level, logger: logger, message: message, fingerprint: fingerprint,
			requestID: clip(scrub(f.RequestID), 64), userID: int64(f.UserID), attributes: h.attributes(&r),
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

// digits are what differs between records that tell of the same: ports, sizes, ids, times.
var digits = regexp.MustCompile(`[0-9]+`)

// fingerprintOf is the same for records that tell of the same, but for the numbers in their texts.
func fingerprintOf(level slog.Level, texts ...string) string {
	sum := sha256.Sum256([]byte(level.String() + "\x00" + digits.ReplaceAllString(strings.Join(texts, "\x00"), "#")))
	return hex.EncodeToString(sum[:])
}

// inLetters is a number as fingerprintOf keeps it.
func inLetters(n uint32) string {
	text := []byte(strconv.FormatUint(uint64(n), 10))
	for i := range text {
		text[i] += 'a' - '0'
	}
	return string(text)
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
