package authsvc

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Limits of one record; what is longer is cut.
const (
	maxErrorValue      = 2000   // characters of one attribute
	maxErrorAttributes = 16_000 // bytes of all of them
	maxErrorStack      = 16_000 // characters
	maxErrorDepth      = 6      // of values in values
	maxErrorItems      = 100    // of one list or object
)

// redacted stands for what must not be kept.
const redacted = "[redacted]"

// secretWords are the words in an attribute's name by which its value is not kept.
var secretWords = map[string]bool{
	"password": true, "passwd": true, "pwd": true, "passphrase": true, "secret": true, "secrets": true, "token": true, "tokens": true,
	"key": true, "keys": true, "apikey": true, "authorization": true, "auth": true, "bearer": true, "cookie": true, "cookies": true,
	"credential": true, "credentials": true, "private": true, "otp": true, "totp": true, "csrf": true, "dsn": true, "signature": true,
}

// harmlessEnds are last words that make a name with a secret word one that tells of it: key_id, token_count.
var harmlessEnds = map[string]bool{"id": true, "ids": true, "count": true, "kind": true, "name": true, "prefix": true, "length": true, "bytes": true, "expires": true}

// secretName tells whether a value under this name must not be kept.
func secretName(name string) bool {
	words := wordsOf(name)
	if len(words) > 1 && harmlessEnds[words[len(words)-1]] {
		return false
	}
	for _, w := range words {
		if secretWords[w] || strings.Contains(w, "password") || strings.Contains(w, "secret") || strings.HasSuffix(w, "token") || strings.HasSuffix(w, "apikey") {
			return true
		}
	}
	return false
}

// wordsOf cuts a name such as APIKey, api_key or request.header.Set-Cookie into words in small letters.
func wordsOf(name string) (words []string) {
	runes := []rune(name)
	begin := 0
	flush := func(end int) {
		if end > begin {
			words = append(words, strings.ToLower(string(runes[begin:end])))
		}
		begin = end
	}
	for i, r := range runes {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			flush(i)
			begin = i + 1
		case i > begin && unicode.IsUpper(r) && (unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])):
			flush(i)
		}
	}
	flush(len(runes))
	return words
}

// secretForms are secrets that are known by their look, wherever they stand: our keys and tokens, signed tokens, the password of an
// address, what follows words such as "Bearer" and "password=".
var secretForms = []struct {
	form *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`\b(gh[a-z]?_[0-9A-Za-z]{8})[0-9A-Za-z]{20,}`), "${1}…"},
	{regexp.MustCompile(`\beyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]*`), redacted},
	{regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://[^\s/:@"']*):[^\s/@"']+@`), "${1}:" + redacted + "@"},
	{regexp.MustCompile(`(?i)\b(bearer|basic)\s+[0-9A-Za-z+/=._~-]{6,}`), "${1} " + redacted},
	{regexp.MustCompile(`(?i)\b(pass(?:word|wd|phrase)?|pwd|secret(?:_key)?|token|api_?key|authorization|cookie)(["']?\s*[=:]\s*["']?)[^\s"',;&)}]+`), "${1}${2}" + redacted},
}

// scrub takes secrets out of a text.
func scrub(text string) string {
	if len(text) < 8 {
		return text
	}
	for i := range secretForms {
		text = secretForms[i].form.ReplaceAllString(text, secretForms[i].with)
	}
	return text
}

// attributes is the record's attributes as JSON, without secrets and within the limits.
func (h *errorHandler) attributes(r *slog.Record) string {
	out := map[string]any{}
	for _, a := range h.attrs {
		addAttr(out, "", a)
	}
	r.Attrs(func(a slog.Attr) bool {
		if a.Key != attrStack && (h.prefix != "" || a.Key != attrLogger && a.Key != attrComponent) {
			addAttr(out, h.prefix, a)
		}
		return true
	})
	text, err := json.Marshal(out)
	if err != nil {
		return `{"attributes":"not to be written as JSON"}`
	}
	if len(text) > maxErrorAttributes {
		return `{"attributes":"left out, ` + strconv.Itoa(len(text)) + ` bytes"}`
	}
	return string(text)
}

// addAttr puts an attribute into out under its name with those of its groups before it.
func addAttr(out map[string]any, prefix string, a slog.Attr) {
	value := a.Value.Resolve()
	if value.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, inner := range value.Group() {
			addAttr(out, prefix, inner)
		}
		return
	}
	if a.Equal(slog.Attr{}) || len(out) >= maxErrorItems {
		return
	}
	name := clip(prefix+a.Key, 100)
	if secretName(name) {
		out[name] = redacted
		return
	}
	out[name] = plain(value)
}

// plain is a value as it is kept.
func plain(v slog.Value) any {
	switch v.Kind() {
	case slog.KindBool:
		return v.Bool()
	case slog.KindInt64:
		return v.Int64()
	case slog.KindUint64:
		return v.Uint64()
	case slog.KindTime:
		return v.Time().UTC().Format(time.RFC3339Nano)
	case slog.KindAny:
		switch v.Any().(type) {
		case error, fmt.Stringer, []byte, nil:
		default:
			if structured, ok := plainJSON(v.Any()); ok {
				return structured
			}
		}
	default:
	}
	return clip(scrub(textOf(v)), maxErrorValue)
}

// plainJSON is a structured value with the same care for the names in it.
func plainJSON(v any) (structured any, ok bool) {
	defer func() {
		if recover() != nil { // a method of the value's own
			structured, ok = nil, false
		}
	}()
	text, err := json.Marshal(v)
	if err != nil || len(text) > maxErrorAttributes || json.Unmarshal(text, &structured) != nil {
		return nil, false
	}
	return redactJSON(structured, 0), true
}

func redactJSON(v any, depth int) any {
	if depth > maxErrorDepth {
		return "…"
	}
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			if secretName(name) {
				v[name] = redacted
			} else {
				v[name] = redactJSON(inner, depth+1)
			}
		}
		return v
	case []any:
		v = v[:min(len(v), maxErrorItems)]
		for i := range v {
			v[i] = redactJSON(v[i], depth+1)
		}
		return v
	case string:
		return clip(scrub(v), maxErrorValue)
	}
	return v
}

// textOf is a value as text, also of one whose own method panics: an error log must not be the reason for another error.
func textOf(v slog.Value) (text string) {
	defer func() {
		if r := recover(); r != nil {
			text = "a value whose text cannot be made"
		}
	}()
	v = v.Resolve()
	switch x := v.Any().(type) {
	case error:
		return x.Error()
	case []byte:
		return string(x)
	}
	return v.String()
}

// maxFrames is the depth to which a stack is kept.
const maxFrames = 40

// callers is the stack above the place that logged, whose program counter is pc.
func callers(pc uintptr) string {
	counters := make([]uintptr, maxFrames+16)
	counters = counters[:runtime.Callers(2, counters)]
	for i, c := range counters {
		if c == pc {
			counters = counters[i:]
			break
		}
	}
	var b strings.Builder
	frames := runtime.CallersFrames(counters)
	for range maxFrames {
		f, more := frames.Next()
		if f.Function != "" {
			fmt.Fprintf(&b, "%s\n\t%s:%d\n", f.Function, f.File, f.Line)
		}
		if !more {
			break
		}
	}
	return b.String()
}
