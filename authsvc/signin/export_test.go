package signin

import "time"

// DeviceUsers opens a device cookie: who is known on it.
func (s *Service) DeviceUsers(cookie string) []uint32 {
	d := s.readDevice(cookie)
	return d.users
}

// Remember makes a device cookie.
func (s *Service) Remember(cookie string, userID uint32) (string, error) {
	return s.remember(cookie, userID)
}

// MaxDeviceUsers is how many people one cookie knows.
const MaxDeviceUsers = maxDeviceUsers

// RecodeDevice reads the content of a device cookie and writes it again.
func RecodeDevice(b []byte) ([]byte, time.Time, bool) {
	d, ok := decodeDevice(b)
	return d.encode(), d.issued, ok
}
