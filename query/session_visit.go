package query

import "slices"

// sessionVisitor is told of sessions, and of what they are made of, person by person.
type sessionVisitor struct {
	session func(*span) error
	// track, where set, is given the presence events of a person at a computer, with one
	// logon id, in no order. They are not to be kept.
	track func(user, computer string, marks []mark)
}

// visits makes of tracks, which come in the order of people and computers, one visit to each person at each
// computer. Tracks of SIDs that stand for a person are visited with theirs, at their place in the order.
type visits struct {
	visitor sessionVisitor
	walker  *walker
	people  map[sidAt]sidPerson
	alone   *sidTracks
	at      visit // whose the tracks are
	tracks  []track
}

// add takes the next track.
func (v *visits) add(user, computer string, t *track) error {
	if user == "" {
		for i := range t.marks {
			t.marks[i].tag = 0
		}
		v.walker.setPower(computer, t.marks)
		return nil
	}
	if _, named := v.people[sidAt{computer, user}]; named {
		return nil // they are in alone
	}
	if next := (visit{user, computer}); next != v.at {
		if err := v.until(next); err != nil {
			return err
		}
		v.at = next
	}
	v.tracks = append(v.tracks, *t)
	return nil
}

// until visits whoever has come so far, and who is in alone only, before next.
func (v *visits) until(next visit) error {
	err := v.visitor.person(v.walker, v.at, v.tracks, v.alone.take(v.at))
	v.tracks = v.tracks[:0]
	if err != nil {
		return err
	}
	return v.alone.before(next, func(at visit) error { return v.visitor.person(v.walker, at, nil, v.alone.take(at)) })
}

// afterAllNames comes after every name in byte order: names are UTF-8.
const afterAllNames = "\xff"

// tell gives a track to who wants it: without the logons of type 7 and 13, which are no
// presence events.
func (v *sessionVisitor) tell(at visit, marks []mark) {
	if v.track == nil {
		return
	}
	isBack := func(m mark) bool { return m.rank() == rankBack }
	if slices.ContainsFunc(marks, isBack) {
		marks = slices.DeleteFunc(slices.Clone(marks), isBack)
	}
	v.track(at.user, at.computer, marks)
}

// person visits one person at one computer: with the tracks of the name, and those of
// SIDs that stand for it.
func (v *sessionVisitor) person(w *walker, at visit, tracks, alone []track) error {
	if len(alone) > 0 {
		named := namedTimes(tracks)
		for _, t := range alone {
			fresh := t.marks
			if t.id == 0 {
				fresh = slices.DeleteFunc(slices.Clone(t.marks), named.told)
				// A sign-off that is told again stays, on this track of its own: the sign-in that
				// goes with it may have been told here alone.
				toldIn := func(m mark) bool { return m.rank() == rankLogon && named.told(m) }
				t.marks = slices.DeleteFunc(t.marks, toldIn)
				t.linked = slices.DeleteFunc(t.linked, func(l linkedLogon) bool { return toldIn(mark{code: l.code}) })
			}
			v.tell(at, fresh)
			if len(t.marks) > 0 {
				tracks = append(tracks, t)
			}
		}
	}
	if len(tracks) == 0 {
		return nil
	}
	for _, t := range tracks {
		if t.sid == "" {
			v.tell(at, t.marks)
		}
	}
	return w.walk(at.user, at.computer, tracks)
}
