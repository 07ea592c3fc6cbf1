package query

import "net/netip"

// spray is a stretch of failures from one address at many users: a longest
// chain of windows with enough users in each, where neighbouring windows share a
// failure.
type spray struct {
	address     netip.Addr
	first, last int64 // Unix milliseconds
	failures    int
	users       int
}

// sprayFinder finds sprays. It is fed one address after the other, each in
// order of time, and ended with end.
type sprayFinder struct {
	users  int   // so many users
	window int64 // within so many milliseconds
	found  func(spray)

	address netip.Addr
	seen    int            // failures of this address so far
	recent  []attempt      // those of the window that ends with the last one
	inside  map[string]int // how often each user is among them

	open  *spray
	upTo  int                 // how many failures had been seen with the open spray's last one
	names map[string]struct{} // the open spray's users
}

type attempt struct {
	t    int64
	user string
}

func (f *sprayFinder) add(address netip.Addr, t int64, user string) {
	if f.inside == nil || address != f.address {
		f.end()
		f.address, f.seen, f.recent, f.inside = address, 0, nil, map[string]int{}
	}
	f.seen++
	f.recent = append(f.recent, attempt{t, user})
	f.inside[user]++
	drop := 0
	for f.recent[drop].t < t-f.window {
		old := f.recent[drop].user
		if f.inside[old]--; f.inside[old] == 0 {
			delete(f.inside, old)
		}
		drop++
	}
	f.recent = f.recent[drop:]
	if len(f.inside) < f.users {
		return
	}
	if f.open != nil && f.seen-len(f.recent) >= f.upTo {
		f.end() // this window shares nothing with the open spray
	}
	fresh := f.recent
	if f.open == nil {
		f.open, f.names = &spray{address: address, first: f.recent[0].t}, map[string]struct{}{}
	} else {
		fresh = f.recent[len(f.recent)-(f.seen-f.upTo):]
	}
	for _, a := range fresh {
		f.names[a.user] = struct{}{}
	}
	f.open.failures += len(fresh)
	f.open.users, f.open.last, f.upTo = len(f.names), t, f.seen
}

func (f *sprayFinder) end() {
	if f.open != nil {
		f.found(*f.open)
		f.open, f.names = nil, nil
	}
}
