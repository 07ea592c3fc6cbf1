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
	// filterBits is the memory per id. With filterProbes it makes one false
	// "maybe" in about two thousand, each of which costs its share of a query.
	filterBits   = 16
	filterProbes = 8
	lineBits     = 512
	// filterMinimum is the smallest layer, in ids: most companies' days are small.
	filterMinimum = 64
	// filterSteep is up to where layers grow eightfold; beyond, each doubles the filter. Few
	// layers keep the answers fast and the errors rare, small steps keep the memory near the need.
	filterSteep = 16 << 10
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
		if f.count < filterSteep {
			f.grow(7 * f.count)
		} else {
			f.grow(f.count)
		}
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

// line and probes split the id, whose bits are already random: which line by the
// upper half of the first word, which bits by the second word, nine at a time.
func (l filterLayer) line(id event.ID) (line *[8]uint64, probes uint64, last uint64) {
	a, b := binary.LittleEndian.Uint64(id[:8]), binary.LittleEndian.Uint64(id[8:])
	i, _ := bits.Mul64(a, uint64(len(l)))
	return &l[i], b, a
}

func (l filterLayer) set(id event.ID) {
	line, p, last := l.line(id)
	for range filterProbes - 1 {
		line[p>>6&7] |= 1 << (p & 63)
		p >>= 9
	}
	line[last>>6&7] |= 1 << (last & 63)
}

func (l filterLayer) has(id event.ID) bool {
	line, p, last := l.line(id)
	if line[last>>6&7]&(1<<(last&63)) == 0 {
		return false
	}
	for range filterProbes - 1 {
		if line[p>>6&7]&(1<<(p&63)) == 0 {
			return false
		}
		p >>= 9
	}
	return true
}
