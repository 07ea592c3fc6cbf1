package event

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// codecVersion leads every encoded event, so that a spool written by an older
// binary stays readable by a newer one.
const codecVersion = 1

var errCodec = errors.New("event: damaged or foreign record")

// AppendBinary appends e's encoding to b: the version, the numbers as varints,
// then the strings with their lengths.
func (e *Event) AppendBinary(b []byte) []byte {
	b = append(b, codecVersion, byte(e.Type), byte(e.Account), e.LogonType, flag(e.Elevated))
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
	for _, a := range [...]netip.Addr{e.LocalIP, e.PublicIP, e.SourceIP} {
		raw := a.AsSlice()
		b = append(b, byte(len(raw))) //nolint:gosec // 0, 4 or 16
		b = append(b, raw...)
	}
	for _, s := range [...]string{e.User, e.Computer, e.Domain, e.SID, e.SourceHost, e.Channel, e.Provider, e.Agent} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

func flag(on bool) byte {
	if on {
		return 1
	}
	return 0
}

// DecodeBinary reads what [Event.AppendBinary] wrote into e. intern makes a
// string of bytes that the caller reuses afterwards; nil copies them.
func (e *Event) DecodeBinary(b []byte, intern func([]byte) string) error {
	if intern == nil {
		intern = func(p []byte) string { return string(p) }
	}
	if len(b) < 5 || b[0] != codecVersion {
		return errCodec
	}
	*e = Event{Type: Type(b[1]), Account: Account(b[2]), LogonType: b[3], Elevated: b[4] == 1}
	r := reader{b: b[5:]}
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
		if n == nil {
			break
		}
		if n[0] == 0 {
			continue
		}
		addr, ok := netip.AddrFromSlice(r.take(int(n[0])))
		if !ok {
			return errCodec
		}
		*a = addr
	}
	for _, s := range [...]*string{&e.User, &e.Computer, &e.Domain, &e.SID, &e.SourceHost, &e.Channel, &e.Provider, &e.Agent} {
		n := r.uvarint(MaxName)
		if raw := r.take(int(n)); len(raw) > 0 { //nolint:gosec // bounded by the line above
			*s = intern(raw)
		}
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

func (r *reader) uvarint(limit uint64) uint64 {
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
