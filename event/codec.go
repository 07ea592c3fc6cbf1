package event

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// One of these leads every encoded event, so that a spool written by an older
// binary stays readable by a newer one.
const (
	versionBare   = 1 // the event
	versionStored = 2 // its identity, then as in version 1
)

var errCodec = errors.New("event: damaged or foreign record")

// AppendBinary appends e's encoding to b: the version, the numbers as varints,
// then the strings with their lengths.
func (e *Event) AppendBinary(b []byte) []byte { return e.appendBody(append(b, versionBare)) }

// AppendStored appends e's encoding with its identity, which is id, so that who takes
// it from the spool need not compute that again.
func (e *Event) AppendStored(b []byte, id ID) []byte {
	return e.appendBody(append(append(b, versionStored), id[:]...))
}

func (e *Event) appendBody(b []byte) []byte {
	b = append(b, byte(e.Type), byte(e.Account), e.LogonType, flag(e.Elevated))
	b = binary.AppendUvarint(b, uint64(e.CompanyID))
	b = binary.AppendUvarint(b, uint64(e.SiteID))
	b = binary.AppendVarint(b, e.Time)
	b = binary.AppendVarint(b, e.Received-e.Time)
	b = binary.AppendUvarint(b, e.LogonID)
	b = binary.AppendUvarint(b, e.LinkedLogonID)
	b = binary.AppendUvarint(b, uint64(e.Status))
	b = binary.AppendUvarint(b, uint64(e.SubStatus))
	b = binary.AppendUvarint(b, uint64(e.EventID))
	b = binary.AppendUvarint(b, e.RecordID)
	b = binary.LittleEndian.AppendUint64(b, e.ContentHash)
	b = binary.AppendUvarint(b, uint64(e.Retry))
	for _, a := range [...]*netip.Addr{&e.LocalIP, &e.PublicIP, &e.SourceIP} {
		switch {
		case a.Is4():
			raw := a.As4()
			b = append(append(b, 4), raw[:]...)
		case a.Is6():
			raw := a.As16()
			b = append(append(b, 16), raw[:]...)
		default:
			b = append(b, 0)
		}
	}
	for _, s := range [NumNames]*string{&e.User, &e.Computer, &e.Domain, &e.SID, &e.SourceHost, &e.Channel, &e.Provider, &e.Agent} {
		b = binary.AppendUvarint(b, uint64(len(*s)))
		b = append(b, *s...)
	}
	return b
}

func flag(on bool) byte {
	if on {
		return 1
	}
	return 0
}

// NumNames is how many names an event has.
const NumNames = 8

// Stored is an encoded event taken apart: all but the names as an Event, and the names as the bytes that
// they are, so that who keeps them otherwise than as strings makes none.
type Stored struct {
	Event Event // without names
	// Names are those of User, Computer, Domain, SID, SourceHost, Channel, Provider and Agent,
	// in this order. They alias the record.
	Names [NumNames][]byte
	// ID is the identity that came with the event, zero for one that came without.
	ID ID
}

// DecodeBinary reads what [Event.AppendBinary] or [Event.AppendStored] wrote into e. intern makes a
// string of bytes that the caller reuses afterwards; nil copies them.
func (e *Event) DecodeBinary(b []byte, intern func([]byte) string) error {
	var s Stored
	if err := s.Decode(b); err != nil {
		return err
	}
	*e = s.Event
	for i, name := range [NumNames]*string{&e.User, &e.Computer, &e.Domain, &e.SID, &e.SourceHost, &e.Channel, &e.Provider, &e.Agent} {
		switch raw := s.Names[i]; {
		case len(raw) == 0:
		case intern == nil:
			*name = string(raw)
		default:
			*name = intern(raw)
		}
	}
	return nil
}

// Decode takes an encoded event apart. After an error s holds nothing of use.
func (s *Stored) Decode(b []byte) error {
	s.ID = ID{}
	switch {
	case len(b) > 0 && b[0] == versionBare:
		b = b[1:]
	case len(b) > len(s.ID) && b[0] == versionStored:
		s.ID = ID(b[1:])
		b = b[1+len(s.ID):]
	default:
		return errCodec
	}
	if len(b) < 4 {
		return errCodec
	}
	e := &s.Event
	*e = Event{Type: Type(b[0]), Account: Account(b[1]), LogonType: b[2], Elevated: b[3] == 1}
	r := reader{b: b[4:]}
	e.CompanyID = uint32(r.uvarint(1<<32 - 1)) //nolint:gosec // bounded by the argument
	e.SiteID = uint32(r.uvarint(1<<32 - 1))    //nolint:gosec // bounded by the argument
	e.Time = r.varint()
	e.Received = e.Time + r.varint()
	e.LogonID = r.uvarint(1<<64 - 1)
	e.LinkedLogonID = r.uvarint(1<<64 - 1)
	e.Status = uint32(r.uvarint(1<<32 - 1))    //nolint:gosec // bounded by the argument
	e.SubStatus = uint32(r.uvarint(1<<32 - 1)) //nolint:gosec // bounded by the argument
	e.EventID = uint16(r.uvarint(1<<16 - 1))   //nolint:gosec // bounded by the argument
	e.RecordID = r.uvarint(1<<64 - 1)
	if hash := r.take(8); hash != nil {
		e.ContentHash = binary.LittleEndian.Uint64(hash)
	}
	e.Retry = uint16(r.uvarint(1<<16 - 1)) //nolint:gosec // bounded by the argument
	for _, a := range [...]*netip.Addr{&e.LocalIP, &e.PublicIP, &e.SourceIP} {
		n := r.take(1)
		if n == nil || n[0] == 0 {
			continue
		}
		raw := r.take(int(n[0]))
		switch len(raw) {
		case 4:
			*a = netip.AddrFrom4([4]byte(raw))
		case 16:
			*a = netip.AddrFrom16([16]byte(raw))
		default:
			return errCodec
		}
	}
	for i := range s.Names {
		n := r.uvarint(MaxName)
		s.Names[i] = r.take(int(n)) //nolint:gosec // bounded by the line above
	}
	if r.bad || len(r.b) != 0 || !e.Type.Valid() {
		return errCodec
	}
	return nil
}

// reader takes values off the front of b; after the first failure it gives zeros.
type reader struct {
	b   []byte
	bad bool
}

// uvarint takes a number up to limit, which is 127 at least.
func (r *reader) uvarint(limit uint64) uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 { // most are small
		v := r.b[0]
		r.b = r.b[1:]
		return uint64(v)
	}
	return r.longUvarint(limit)
}

func (r *reader) longUvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > limit {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

// Interner makes one string of equal byte slices, so that decoding a batch
// allocates each name once. Not safe for concurrent use. It forgets everything
// when it holds more than a bounded number of names.
type Interner struct{ m map[string]string }

// maxInterned bounds an Interner: beyond it the table starts anew.
const maxInterned = 1 << 16

// String gives the string of b.
func (in *Interner) String(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if s, ok := in.m[string(b)]; ok {
		return s
	}
	if in.m == nil || len(in.m) >= maxInterned {
		in.m = make(map[string]string, 256)
	}
	s := string(b)
	in.m[s] = s
	return s
}
