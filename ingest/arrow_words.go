package ingest

import (
	"net/netip"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"gatehouse/event"
)

// What is known of a word of a dictionary.
const (
	wordNew   = iota // nothing yet
	wordGood         // its value stands in the list of its kind
	wordRaw          // a name that is not clean: each event with it is looked at as if it came alone
	wordBad          // no value of the field
	wordEmpty        // null or empty: the field is absent
)

// arrowWords are the values of a dictionary, each read and checked when it is first met: thousands of events share
// a few words, and what a word has proved once need not be proved for each of them.
type arrowWords struct {
	size  int
	state []uint8
	names []string
	kinds []event.Type
	addrs []netip.Addr
	errs  map[int]*event.Error

	value func(i int) []byte
	null  arrowColumn // for its validity bitmap
}

// wordsWorth bounds the dictionaries that are read so: the memory for a large one would be cleared for each of
// many small batches.
const wordsWorth = 4

var arrowWordsPool = sync.Pool{New: func() any { return new(arrowWords) }}

// wordsOf makes ready to read the words of a column's dictionary, nil when it is none or not worth it.
func wordsOf(c *arrowColumn, rows int) *arrowWords {
	a, ok := c.data.(*array.Dictionary)
	if !ok || a.Dictionary().Len() > wordsWorth*rows+64 || !wordField(c.field) {
		return nil
	}
	w := arrowWordsPool.Get().(*arrowWords) //nolint:forcetypeassert // the pool holds nothing else
	w.reset(a.Dictionary(), c.field)
	return w
}

// wordField tells whether the field is of a kind that arrowWords keeps: nearly all text is.
func wordField(f event.FieldID) bool { return f == event.FieldEventType || isName(f) || isAddr(f) }

func isAddr(f event.FieldID) bool {
	return f == event.FieldLocalIP || f == event.FieldPublicIP || f == event.FieldSourceIP
}

func isName(f event.FieldID) bool { return nameOf(f) != nil }

// nameOf gives the place of a name in an event, nil for a field that is no name.
func nameOf(f event.FieldID) func(e *event.Event) *string {
	switch f {
	case event.FieldUserName:
		return func(e *event.Event) *string { return &e.User }
	case event.FieldComputerName:
		return func(e *event.Event) *string { return &e.Computer }
	case event.FieldDomain:
		return func(e *event.Event) *string { return &e.Domain }
	case event.FieldSID:
		return func(e *event.Event) *string { return &e.SID }
	case event.FieldSourceHost:
		return func(e *event.Event) *string { return &e.SourceHost }
	case event.FieldChannel:
		return func(e *event.Event) *string { return &e.Channel }
	case event.FieldProvider:
		return func(e *event.Event) *string { return &e.Provider }
	case event.FieldAgentVersion:
		return func(e *event.Event) *string { return &e.Agent }
	default:
		return nil
	}
}

func (w *arrowWords) reset(words arrow.Array, field event.FieldID) {
	w.size = words.Len()
	w.state = cleared(w.state, w.size)
	switch {
	case field == event.FieldEventType:
		w.kinds = cleared(w.kinds, w.size)
	case isAddr(field):
		w.addrs = cleared(w.addrs, w.size)
	default:
		w.names = cleared(w.names, w.size)
	}
	w.value = wordsText(words)
	w.null = arrowColumn{data: words, shift: words.Data().Offset()}
	if buffers := words.Data().Buffers(); len(buffers) > 0 && buffers[0] != nil {
		w.null.nulls = buffers[0].Bytes()
	}
}

// cleared is s with n zero values.
func cleared[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	s = s[:n]
	clear(s)
	return s
}

func (w *arrowWords) release() {
	clear(w.names) // they point into the stream
	w.names, w.kinds, w.addrs = w.names[:0], w.kinds[:0], w.addrs[:0]
	w.errs, w.value, w.null = nil, nil, arrowColumn{}
	if cap(w.state) <= maxPooledWords {
		arrowWordsPool.Put(w)
	}
}

// maxPooledWords is how large a dictionary's memory may be to be kept for the next.
const maxPooledWords = 1 << 16

// wordsText gives the text of a dictionary's values.
func wordsText(words arrow.Array) func(i int) []byte {
	switch w := words.(type) {
	case *array.String:
		return func(i int) []byte { return asBytes(w.Value(i)) }
	case *array.LargeString:
		return func(i int) []byte { return asBytes(w.Value(i)) }
	case *array.StringView:
		return func(i int) []byte { return asBytes(w.Value(i)) }
	case *array.Binary:
		return w.Value
	case *array.LargeBinary:
		return w.Value
	default:
		panic("a dictionary of another type than its schema says")
	}
}

// look reads word i for the first time.
func (w *arrowWords) look(i int, field event.FieldID, o *event.ParseOptions) uint8 {
	state := w.read(i, field, o)
	w.state[i] = state
	return state
}

func (w *arrowWords) read(i int, field event.FieldID, o *event.ParseOptions) uint8 {
	if w.null.null(i) {
		return wordEmpty
	}
	text := w.value(i)
	if len(text) == 0 {
		return wordEmpty
	}
	if isName(field) {
		name, clean := event.CleanName(borrow(text))
		if !clean {
			w.names[i] = borrow(text)
			return wordRaw
		}
		w.names[i] = name
		return wordGood
	}
	var e event.Event
	if err := e.Set(field, text, o); err != nil {
		if w.errs == nil {
			w.errs = map[int]*event.Error{}
		}
		w.errs[i] = asError(err)
		return wordBad
	}
	switch field {
	case event.FieldEventType:
		w.kinds[i] = e.Type
	case event.FieldLocalIP:
		w.addrs[i] = e.LocalIP
	case event.FieldPublicIP:
		w.addrs[i] = e.PublicIP
	default:
		w.addrs[i] = e.SourceIP
	}
	return wordGood
}

// fillWords sets one field of n rows from row from on, from the words that the indexes name. Signed indexes are read as
// the unsigned ones of the same bits, as the Arrow library does: they are never negative.
func fillWords(d *arrowDecoder, c *arrowColumn, from, n int, indexes arrow.Array) {
	raw, offset := indexes.Data().Buffers()[1].Bytes(), indexes.Data().Offset()
	switch indexes.DataType().ID() {
	case arrow.INT8, arrow.UINT8:
		fillIndexed(d, c, from, n, raw[offset:])
	case arrow.INT16, arrow.UINT16:
		fillIndexed(d, c, from, n, arrow.Uint16Traits.CastFromBytes(raw)[offset:])
	case arrow.INT32, arrow.UINT32:
		fillIndexed(d, c, from, n, arrow.Uint32Traits.CastFromBytes(raw)[offset:])
	case arrow.INT64, arrow.UINT64:
		fillIndexed(d, c, from, n, arrow.Uint64Traits.CastFromBytes(raw)[offset:])
	default:
		panic("a dictionary with indexes of another type than the format has")
	}
}

func fillIndexed[T uint8 | uint16 | uint32 | uint64](d *arrowDecoder, c *arrowColumn, from, n int, indexes []T) {
	w, name := c.words, nameOf(c.field)
	for k, index := range indexes[from : from+n] {
		if c.null(from + k) {
			continue
		}
		if uint64(index) >= uint64(w.size) { //nolint:gosec // a length
			panic("an index beyond its dictionary")
		}
		i := int(index)
		state := w.state[i]
		if state == wordNew {
			state = w.look(i, c.field, &d.batch.parse)
		}
		e := &d.rows.events[k]
		switch {
		case state == wordEmpty:
		case state == wordBad:
			if d.rows.errs[k] == nil {
				d.rows.errs[k] = w.errs[i]
			}
		case name != nil:
			*name(e) = w.names[i]
			if state == wordRaw {
				d.rows.raw[k] = true
			}
		case c.field == event.FieldEventType:
			e.Type = w.kinds[i]
		case c.field == event.FieldLocalIP:
			e.LocalIP = w.addrs[i]
		case c.field == event.FieldPublicIP:
			e.PublicIP = w.addrs[i]
		default:
			e.SourceIP = w.addrs[i]
		}
	}
}
