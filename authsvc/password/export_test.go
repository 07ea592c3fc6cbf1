package password

// Dummy is the hash of nobody.
func (h *Hasher) Dummy() string { return h.dummy }

// Prepare is what bcrypt is given.
func Prepare(password string) []byte { return prepare(password) }
