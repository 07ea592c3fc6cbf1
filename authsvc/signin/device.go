package signin

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"time"

	"gatehouse/authsvc"
)

// DeviceLifetime is how long a browser is known after a sign-in.
const DeviceLifetime = 365 * 24 * time.Hour

const (
	deviceVersion = 1
	deviceID      = 16 // bytes
	// maxDeviceUsers bounds the cookie: of more people on one browser, those who signed in last are known.
	maxDeviceUsers = 16
	// maxDevice is longer than any cookie that we make.
	maxDevice = 512
	// deviceRenew is how old a cookie may be before the next sign-in makes it anew.
	deviceRenew = 30 * 24 * time.Hour
)

// device is a browser that people have signed in with: a random id, and who they were, the last one first.
type device struct {
	id     [deviceID]byte
	issued time.Time
	users  []uint32
}

// name is how failures are counted for it.
func (d *device) name() string { return hex.EncodeToString(d.id[:]) }

// knows tells whether the person has signed in with it.
func (d *device) knows(userID uint32) bool { return userID != 0 && slices.Contains(d.users, userID) }

// encode is the content of the cookie before it is sealed.
func (d *device) encode() []byte {
	b := append([]byte{deviceVersion}, d.id[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(d.issued.UnixMilli()))
	for _, u := range d.users {
		b = binary.BigEndian.AppendUint32(b, u)
	}
	return b
}

const deviceHead = 1 + deviceID + 8

func decodeDevice(b []byte) (device, bool) {
	if len(b) < deviceHead || b[0] != deviceVersion || (len(b)-deviceHead)%4 != 0 || len(b) > deviceHead+4*maxDeviceUsers {
		return device{}, false
	}
	var d device
	copy(d.id[:], b[1:])
	ms := int64(binary.BigEndian.Uint64(b[1+deviceID:])) //nolint:gosec // checked below
	if ms < 0 || ms > 1<<45 {
		return device{}, false
	}
	d.issued = time.UnixMilli(ms).UTC()
	for b = b[deviceHead:]; len(b) > 0; b = b[4:] {
		d.users = append(d.users, binary.BigEndian.Uint32(b))
	}
	return d, true
}

// readDevice opens a device cookie. One that is not ours, or too old, is a device that knows nobody.
func (s *Service) readDevice(cookie string) device {
	if cookie == "" || len(cookie) > maxDevice {
		return device{}
	}
	plain, err := s.sealer.Open(authsvc.PurposeDeviceCookie, "", cookie)
	if err != nil {
		return device{}
	}
	d, ok := decodeDevice(plain)
	if now := s.now(); !ok || now.Sub(d.issued) > DeviceLifetime || d.issued.Sub(now) > time.Hour {
		return device{}
	}
	return d
}

// remember gives the cookie that makes the browser known to the person; empty: the one that it has does.
func (s *Service) remember(cookie string, userID uint32) (string, error) {
	d := s.readDevice(cookie)
	now := s.now()
	if d.knows(userID) && now.Sub(d.issued) < deviceRenew && !s.sealer.Stale(cookie) {
		return "", nil
	}
	if len(d.users) == 0 {
		if _, err := io.ReadFull(s.rand, d.id[:]); err != nil {
			return "", fmt.Errorf("no randomness for a device: %w", err)
		}
	}
	d.issued = now
	d.users = slices.DeleteFunc(d.users, func(u uint32) bool { return u == userID })
	d.users = append([]uint32{userID}, d.users[:min(len(d.users), maxDeviceUsers-1)]...)
	return s.sealer.Seal(authsvc.PurposeDeviceCookie, "", d.encode())
}
