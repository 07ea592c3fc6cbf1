package query

import (
	"cmp"
	"slices"
)

// attempt is one failure, with the numbers of who failed, at what and from where; 0 for none.
type attempt struct {
	time                    int64
	user, computer, address uint32
}

func (a attempt) ofUser() uint32     { return a.user }
func (a attempt) ofComputer() uint32 { return a.computer }
func (a attempt) ofAddress() uint32  { return a.address }

// eachSubject gives the attempts of each user, or of each address, in order of time. It
// sorts the list that it is given; those that belong to none are left out.
func eachSubject(list []attempt, of func(attempt) uint32, take func(subject uint32, list []attempt)) {
	slices.SortFunc(list, func(a, b attempt) int {
		return cmp.Or(cmp.Compare(of(a), of(b)), cmp.Compare(a.time, b.time), cmp.Compare(a.user, b.user), cmp.Compare(a.computer, b.computer))
	})
	for begin, end := 0, 0; begin < len(list); begin = end {
		subject := of(list[begin])
		for end = begin; end < len(list) && of(list[end]) == subject; end++ {
		}
		if subject != 0 {
			take(subject, list[begin:end:end])
		}
	}
}

// stretch is a run of attempts, both ends included.
type stretch struct{ first, last int }

// bursts gives the stretches that groups of count attempts within window milliseconds
// make: groups that share an attempt are one stretch. The list is in order of time.
func bursts(list []attempt, count int, window int64) []stretch {
	var out []stretch
	for i := 0; i+count <= len(list); i++ {
		if list[i+count-1].time-list[i].time <= window {
			out = join(out, stretch{i, i + count - 1})
		}
	}
	return out
}

// sprays gives the stretches that windows with enough users in them make, in
// the same way. Every attempt has a user.
func sprays(list []attempt, users int, window int64) []stretch {
	var out []stretch
	inside := map[uint32]int{}
	begin := 0
	for i, a := range list {
		inside[a.user]++
		for ; list[begin].time < a.time-window; begin++ {
			if old := list[begin].user; inside[old] == 1 {
				delete(inside, old)
			} else {
				inside[old]--
			}
		}
		if len(inside) >= users {
			out = join(out, stretch{begin, i})
		}
	}
	return out
}

// join adds a stretch to those found so far, which begin no later than it does.
func join(found []stretch, s stretch) []stretch {
	if n := len(found); n > 0 && s.first <= found[n-1].last {
		found[n-1].last = s.last
		return found
	}
	return append(found, s)
}

// different is how many different users, computers or addresses attempts have.
func different(list []attempt, of func(attempt) uint32) uint64 {
	var seen set
	for _, a := range list {
		seen.add(of(a))
	}
	return seen.size()
}
