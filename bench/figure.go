package bench

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Figure is one measured value and what it should be.
type Figure struct {
	Name   string
	Value  float64
	Unit   string
	Target float64
	Below  bool // the value should be below the target, else at least the target
	Bound  bool // there is a target
}

// OK tells whether the target, if there is one, is reached.
func (f *Figure) OK() bool {
	switch {
	case !f.Bound:
		return true
	case f.Below:
		return f.Value < f.Target
	default:
		return f.Value >= f.Target
	}
}

// Board collects figures and prints each as it comes.
type Board struct {
	mu      sync.Mutex
	w       io.Writer
	figures []Figure
	err     error
}

// NewBoard prints to w.
func NewBoard(w io.Writer) *Board { return &Board{w: w} }

func number(v float64) string {
	switch {
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 3, 64)
	}
}

func (b *Board) put(f Figure) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.figures = append(b.figures, f)
	b.print("bench %s %s %s\n", f.Name, number(f.Value), f.Unit)
	if f.Bound {
		verdict, word := "ok", "at least"
		if f.Below {
			word = "below"
		}
		if !f.OK() {
			verdict = "SHORT"
		}
		b.print("# %s: %s, target %s %s %s\n", f.Name, verdict, word, number(f.Target), f.Unit)
	}
}

func (b *Board) print(format string, args ...any) {
	if _, err := fmt.Fprintf(b.w, format, args...); err != nil && b.err == nil {
		b.err = err
	}
}

// Note prints a comment line.
func (b *Board) Note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.print("# "+format+"\n", args...)
}

// Plain puts a figure without a target.
func (b *Board) Plain(name string, v float64, unit string) {
	b.put(Figure{Name: name, Value: v, Unit: unit})
}

// AtLeast puts a figure that should reach a target.
func (b *Board) AtLeast(name string, v float64, unit string, target float64) {
	b.put(Figure{Name: name, Value: v, Unit: unit, Target: target, Bound: true})
}

// Below puts a figure that should stay below a target.
func (b *Board) Below(name string, v float64, unit string, target float64) {
	b.put(Figure{Name: name, Value: v, Unit: unit, Target: target, Below: true, Bound: true})
}

// Figures are all that were put so far.
func (b *Board) Figures() []Figure {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.figures)
}

// Short are the names of those below their targets.
func (b *Board) Short() []string {
	var out []string
	for _, f := range b.Figures() {
		if !f.OK() {
			out = append(out, f.Name)
		}
	}
	return out
}

// median is the middle value, the mean of the two middle ones for even numbers.
func median[T ~int64 | ~float64](v []T) T {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	m := len(s) / 2
	if len(s)%2 == 1 {
		return s[m]
	}
	return (s[m-1] + s[m]) / 2
}

// percentile is the value that a share p of v does not exceed.
func percentile(v []time.Duration, p float64) time.Duration {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return s[min(int(p*float64(len(s))), len(s)-1)]
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
