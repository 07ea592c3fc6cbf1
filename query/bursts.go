package query

// attempts are the failures of one user or one address in order of time. Users,
// computers and addresses are hashes of their names, 0 for none.
type attempts struct {
	times                       []int64
	users, computers, addresses []uint64
}

// stretch is a run of attempts, both ends included.
type stretch struct{ first, last int }

// bursts gives the stretches that groups of count attempts within window
// milliseconds make: groups that share an attempt are one stretch.
func (a *attempts) bursts(count int, window int64) []stretch {
	var out []stretch
	for i := 0; i+count <= len(a.times); i++ {
		if a.times[i+count-1]-a.times[i] <= window {
			out = join(out, stretch{i, i + count - 1})
		}
	}
	return out
}

// sprays gives the stretches that windows with enough users in them make, in
// the same way. Attempts without a user do not count.
func (a *attempts) sprays(users int, window int64) []stretch {
	var out []stretch
	inside := map[uint64]int{}
	begin := 0
	for i, t := range a.times {
		inside[a.users[i]]++
		for ; a.times[begin] < t-window; begin++ {
			if old := a.users[begin]; inside[old] == 1 {
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

// named are the attempts that have a user.
func (a *attempts) named() *attempts {
	out := &attempts{}
	for i, user := range a.users {
		if user != 0 {
			out.times, out.users = append(out.times, a.times[i]), append(out.users, user)
		}
	}
	return out
}

// distinctNames is how many different names are in a stretch.
func distinctNames(hashes []uint64, s stretch) uint64 {
	seen := map[uint64]struct{}{}
	for _, h := range hashes[s.first : s.last+1] {
		if h != 0 {
			seen[h] = struct{}{}
		}
	}
	return uint64(len(seen))
}
