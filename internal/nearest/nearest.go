// Package nearest finds the names that somebody may have meant, for error messages that help.
package nearest

import (
	"slices"
	"strings"
)

// maxLen bounds the names compared, in runes: the work grows with the product of both lengths, and no name that a person
// mistypes is longer.
const maxLen = 100

// Names returns up to limit of the names that come near to want, the nearest first. It compares without case. A name is near
// when few letters differ (a third of it at most), or when one begins with the other.
func Names(want string, have []string, limit int) []string {
	w := clip(want)
	if len(w) == 0 {
		return nil
	}
	type candidate struct {
		name     string
		distance int
	}
	var found []candidate
	for _, name := range have {
		h := clip(name)
		if len(h) == 0 {
			continue
		}
		d := distance(w, h)
		near := d <= max(1, max(len(w), len(h))/3)
		if !near && min(len(w), len(h)) >= 3 {
			near = strings.HasPrefix(string(h), string(w)) || strings.HasPrefix(string(w), string(h))
		}
		if near {
			found = append(found, candidate{name, d})
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int {
		if a.distance != b.distance {
			return a.distance - b.distance
		}
		return strings.Compare(a.name, b.name)
	})
	var out []string
	for _, c := range found[:min(limit, len(found))] {
		out = append(out, c.name)
	}
	return out
}

func clip(s string) []rune {
	r := []rune(strings.ToLower(strings.TrimSpace(s)))
	return r[:min(len(r), maxLen)]
}

// distance counts the letters to add, drop, change or swap with their neighbour to get from a to b (optimal string
// alignment: swapped letters are the commonest slip, so they count as one).
func distance(a, b []rune) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
