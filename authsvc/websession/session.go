package websession

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"gatehouse/authsvc"
)

// Session is one browser's session. It is made for one request and is not safe for concurrent use; Manager.Save keeps what was changed in it.
type Session struct {
	UserID   uint32 // 0: nobody has signed in
	Epoch    int64  // of the user, when they signed in
	Created  time.Time
	LastSeen time.Time
	Expires  time.Time
	Address  netip.Addr // where it was last used from
	Agent    string     // the browser that it began in

	Data

	id     string // what the cookie holds
	stored string // the hash under which it stands, empty for a new one
	next   *next  // what it becomes with the next Rotate, if that was told
}

// Data is what only the server may read: it is stored under seal.
type Data struct {
	// CSRF is the secret from which the tokens in forms are made. It changes with the session's id.
	CSRF []byte `json:"csrf,omitempty"`
	// Pending says that the second factor has not been given yet: such a session is over soon, however often it is used.
	Pending bool `json:"pending,omitempty"`
	// Methods are those by which the person proved who they are.
	Methods []string `json:"methods,omitempty"`
	// Proved is when the identity provider that vouches for the person last had them prove who they are (Unix ms), which may be long before it sent them
	// here; 0: it does not tell.
	Proved int64 `json:"proved,omitempty"`
	// Challenge is what a passkey has been asked to sign, with what the WebAuthn library needs to check it, until ChallengeUntil (Unix ms).
	Challenge      []byte `json:"challenge,omitempty"`
	ChallengeUntil int64  `json:"challenge_until,omitempty"`
	// Values are those of the pages: where to go after the sign-in, messages to show once.
	Values map[string]string `json:"values,omitempty"`
}

// next are the id and the secret for forms that a session is going to have.
type next struct {
	id   string
	csrf []byte
}

// ID is what the cookie holds. It is a secret: whoever has it is signed in.
func (s *Session) ID() string { return s.id }

// Ref names the session without giving it away: for lists, logs and the audit trail.
func (s *Session) Ref() string { return refOf(hashOf(s.id)) }

// Hash is under what the session is stored.
func (s *Session) Hash() string { return hashOf(s.id) }

// Stored tells whether the session has been saved. One that is not leaves nothing behind, and its cookie need not be set.
func (s *Session) Stored() bool { return s.stored != "" }

// The methods by which people prove who they are.
const (
	MethodPassword = "password"
	MethodTOTP     = "totp"
	MethodRecovery = "recovery"
	MethodPasskey  = "passkey"
	MethodOIDC     = "oidc"     // the identity provider vouches for the person: one factor, as a password is
	MethodOIDCMFA  = "oidc_mfa" // and it is believed to have asked for a second one
)

// SecondFactor tells whether more than one factor was given.
func (d *Data) SecondFactor() bool {
	return slices.ContainsFunc(d.Methods, func(m string) bool { return m != MethodPassword && m != MethodOIDC })
}

// Vouched tells whether another vouched for the person, so that no password of ours was asked for.
func (d *Data) Vouched() bool { return slices.Contains(d.Methods, MethodOIDC) }

// VouchedFactor tells whether who vouched for the person is believed to have asked for a second factor.
func (d *Data) VouchedFactor() bool { return slices.Contains(d.Methods, MethodOIDCMFA) }

// recentTime is how long after a sign-in somebody may change what proves who they are without proving it again.
const recentTime = 10 * time.Minute

// Recent tells whether the person proved so short a while ago who they are that it need not be asked for again. A provider that let somebody in without
// asking anything proves nothing new.
func (s *Session) Recent(now time.Time) bool {
	at := s.Created
	if s.Vouched() {
		at = time.UnixMilli(s.Proved)
	}
	return now.Sub(at) < recentTime
}

const (
	idSize  = 32 // bytes: nothing to guess
	refSize = 16 // characters: 64 bits tell the sessions of all people apart
)

var idText = base64.RawURLEncoding.Strict()

// wellFormed tells whether a cookie can hold an id at all, so that nonsense costs no query.
func wellFormed(id string) bool {
	if len(id) != idText.EncodedLen(idSize) {
		return false
	}
	raw, err := idText.DecodeString(id)
	return err == nil && len(raw) == idSize
}

func hashOf(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}

func refOf(hash string) string { return hash[:min(refSize, len(hash))] }

// sealedTo is what a session's data is bound to: its id, whose it is, in which epoch it was made and when. Whoever can write to the database or Redis can
// thus neither give it to another person nor make it count again.
func sealedTo(hash string, userID uint32, epoch int64, created time.Time) string {
	return fmt.Sprintf("%s|%d|%d|%d", hash, userID, epoch, created.UnixMilli())
}

// seal turns s into a row.
func (s *Session) seal(sealer *authsvc.Sealer) (authsvc.SessionRow, error) {
	plain, err := json.Marshal(s.Data)
	if err != nil {
		return authsvc.SessionRow{}, err
	}
	hash := hashOf(s.id)
	sealed, err := sealer.Seal(authsvc.PurposeSession, sealedTo(hash, s.UserID, s.Epoch, s.Created), plain)
	if err != nil {
		return authsvc.SessionRow{}, err
	}
	row := authsvc.SessionRow{
		IDHash: hash, UserID: s.UserID, Epoch: s.Epoch, Data: sealed, Created: s.Created, LastSeen: s.LastSeen, Expires: s.Expires, Agent: s.Agent,
	}
	if s.Address.IsValid() {
		row.Address = s.Address.Unmap().WithZone("").String()
	}
	return row, nil
}

// open is the reverse of seal.
func open(sealer *authsvc.Sealer, id string, row authsvc.SessionRow) (*Session, error) {
	plain, err := sealer.Open(authsvc.PurposeSession, sealedTo(row.IDHash, row.UserID, row.Epoch, row.Created), row.Data)
	if err != nil {
		return nil, err
	}
	s := &Session{
		UserID: row.UserID, Epoch: row.Epoch, Created: row.Created, LastSeen: row.LastSeen, Expires: row.Expires, Agent: row.Agent,
		id: id, stored: row.IDHash,
	}
	if err := json.Unmarshal(plain, &s.Data); err != nil {
		return nil, err
	}
	s.Address, _ = netip.ParseAddr(row.Address) // an empty one stays invalid
	return s, nil
}
