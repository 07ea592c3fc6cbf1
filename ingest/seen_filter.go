package ingest

import (
	"encoding/binary"
	"math/bits"

	"gatehouse/event"
)

// idFilter answers "may this id be in the store?" for one company's day: a Bloom
// filter whose bits for an id lie in one cache line. No is certain. It grows by
// layers, for nobody knows how many events a day will bring.
type idFilter struct {
	layers []filterLayer
	count  int // ids added
	room   int // for how many more the last layer is made
}

type filterLayer [][8]uint64

const (
	// filterBits is the memory per id. With filterProbes it makes one false "maybe" in
	// sixteen thousand: a handful per full block, each of which costs a look at some thousand rows.
	filterBits   = 24
	filterProbes = 10
	lineBits     = 512
	// filterMinimum is the smallest layer, in ids: most companies' days are small.
	filterMinimum = 64
	// filterSteep is up to where layers grow eightfold; beyond, each doubles the filter. Few
	// layers keep the answers fast and the errors rare, small steps keep the memory near the need.
	filterSteep = 8 << 10
)

// newIDFilter makes a filter with room for n ids and some more.
func newIDFilter(n int) *idFilter {
	f := &idFilter{}
	f.grow(max(filterMinimum, n+n/4))
	return f
}

func (f *idFilter) grow(n int) {
	f.layers = append(f.layers, make(filterLayer, (n*filterBits+lineBits-1)/lineBits))
	f.room = n
}

// add puts id in.
func (f *idFilter) add(id event.ID) {
	if f.room == 0 {
		f.grow(min(7*f.count, max(f.count, filterSteep)))
	}
	f.count++
	f.room--
	f.layers[len(f.layers)-1].set(id)
}

// has is false only when id was never added.
func (f *idFilter) has(id event.ID) bool {
	for i := len(f.layers) - 1; i >= 0; i-- {
		if f.layers[i].has(id) {
			return true
		}
	}
	return false
}

// bytes is what the filter takes in memory.
func (f *idFilter) bytes() int {
	n := 0
	for _, l := range f.layers {
		n += len(l) * lineBits / 8
	}
	return n
}

// line finds where id belongs: which line by the upper bits of its first word, which bits in it by the second
// word and the lower bits of the first, nine at a time. They are random already.
func (l filterLayer) line(id event.ID) (line *[8]uint64, first, second uint64) {
	a, b := binary.LittleEndian.Uint64(id[:8]), binary.LittleEndian.Uint64(id[8:])
	i, _ := bits.Mul64(a, uint64(len(l)))
	return &l[i], a, b
}

const (
	probesOfFirst  = 3 // 27 bits; the line is chosen by those above, for no layer has 2^37 lines
	probesOfSecond = filterProbes - probesOfFirst
)

func (l filterLayer) set(id event.ID) {
	line, a, b := l.line(id)
	for range probesOfFirst {
		line[a>>6&7] |= 1 << (a & 63)
		a >>= 9
	}
	for range probesOfSecond {
		line[b>>6&7] |= 1 << (b & 63)
		b >>= 9
	}
}

func (l filterLayer) has(id event.ID) bool {
	line, a, b := l.line(id)
	for range probesOfFirst {
		if line[a>>6&7]&(1<<(a&63)) == 0 {
			return false
		}
		a >>= 9
	}
	for range probesOfSecond {
		if line[b>>6&7]&(1<<(b&63)) == 0 {
			return false
		}
		b >>= 9
	}
	return true
}
