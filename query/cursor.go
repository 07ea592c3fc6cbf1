package query

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"time"

	"gatehouse/event"
)

// cursorVersion changes when the meaning of a cursor does; older ones are then
// refused, and their holder begins again.
const cursorVersion = 2

// maxPageOffset is the furthest row that a page can begin with: more than a report has. A
// cursor beyond it is not ours.
const maxPageOffset = 1_000_000_000

// errCursor is the one answer for every cursor that is not ours: broken, of
// another report, company or set of parameters, or of another version.
var errCursor = event.FieldError("cursor", "is not a cursor of this report with these parameters; begin again without it")

// page is where a page begins. A report's rows are counted (Offset); events and
// sessions are found again by their place in the order (Key).
type page struct {
	Version int      `json:"v"`
	Params  string   `json:"p"` // see paramsHash
	From    int64    `json:"f,omitempty"`
	To      int64    `json:"t,omitempty"`
	Now     int64    `json:"n,omitempty"`
	Offset  int      `json:"o,omitempty"`
	Key     []string `json:"k,omitempty"`

	params string // the hash of the request at hand
}

// cursor makes the cursor of the page that begins with pg for a request's
// parameters.
func (p Params) cursor(pg page) string {
	pg.Version, pg.Params = cursorVersion, p.page.params
	if !p.From.IsZero() || !p.To.IsZero() {
		pg.From, pg.To = p.From.UnixMilli(), p.To.UnixMilli()
	}
	raw, err := json.Marshal(pg)
	if err != nil { // numbers and texts alone: it cannot fail
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// decodeCursor reads a cursor and holds it to the request that it came with.
// A forged one cannot reach further than its own request could: the company is
// never read from it, and its values are bound like any others.
func decodeCursor(s string, spec *Spec, c Company, now time.Time, values url.Values) (page, error) {
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return page{}, errCursor
	}
	var pg page
	if err := json.Unmarshal(raw, &pg); err != nil {
		return page{}, errCursor
	}
	if pg.Version != cursorVersion || pg.Params != paramsHash(spec, c, values) || pg.Offset < 0 || pg.Offset > maxPageOffset {
		return page{}, errCursor
	}
	if slices.Contains(spec.Params, "from") {
		if pg.From < minTime.UnixMilli() || pg.To > maxTime.UnixMilli() || pg.From >= pg.To || pg.To-pg.From > MaxRange.Milliseconds() {
			return page{}, errCursor
		}
	}
	if slices.Contains(spec.Params, "at") && (pg.From < minTime.UnixMilli() || pg.From > now.UnixMilli()) {
		return page{}, errCursor
	}
	if pg.Now < 0 || pg.Now > maxTime.UnixMilli() {
		return page{}, errCursor
	}
	return pg, nil
}

// pageParams are the parameters that may differ between pages.
var pageParams = []string{"cursor", "limit", "format", "company"}

// paramsHash stands for a request's parameters, without those that may differ
// between pages.
func paramsHash(spec *Spec, c Company, values url.Values) string {
	h := sha256.New()
	write := func(s string) {
		var n [8]byte
		binary.LittleEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	write(spec.Name)
	write(strconv.FormatUint(uint64(c.ID), 10))
	names := make([]string, 0, len(values))
	for name := range values {
		if !slices.Contains(pageParams, name) {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		write(name)
		write(strconv.Itoa(len(values[name])))
		for _, v := range values[name] {
			write(v)
		}
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:9])
}

// Page cuts rows that are all in memory to the page that p asks for, and gives
// the cursor of the next one, "" after the last.
func Page[T any](p Params, rows []T) ([]T, string) {
	start := min(p.page.Offset, len(rows))
	rows = rows[start:]
	if p.Limit <= 0 || len(rows) <= p.Limit {
		return rows, ""
	}
	return rows[:p.Limit:p.Limit], p.cursor(page{Offset: start + p.Limit})
}
