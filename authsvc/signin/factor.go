package signin

import (
	"context"
	"encoding/json"

	"gatehouse/authsvc"
	"gatehouse/event"
)

// Proof is what somebody gives as their second factor: a Code, or what a passkey signed.
type Proof struct {
	Code      string          // of an authenticator app, or a recovery code
	Assertion json.RawMessage // the browser's answer, as the WebAuthn standard writes it in JSON
	Challenge []byte          // what Challenge gave to be kept; set by the Service from the session
}

// SecondFactor checks second factors. Whether a person has one is in their authsvc.Credential.
type SecondFactor interface {
	// Challenge makes what the person's passkeys are to sign: options for the browser, and state that is kept in the session on the server until
	// the answer comes. Somebody without passkeys is event.CodeConflict.
	Challenge(ctx context.Context, userID uint32) (options json.RawMessage, state []byte, err error)

	// Verify tells by which method a proof is right: websession.MethodTOTP, MethodRecovery or MethodPasskey. A wrong one is ErrWrongFactor. A right one is
	// used up in the same transaction, and what that changes is recorded in the audit trail as done by actor: of two requests with the same code at one
	// moment, one fails.
	Verify(ctx context.Context, actor *authsvc.Actor, userID uint32, proof Proof) (method string, err error)
}

// ErrWrongFactor is the answer to every second factor that does not count.
var ErrWrongFactor = event.Errorf(event.CodeUnauthorized, "the code is wrong, too old or was used before; after several wrong ones further tries are refused for a while")
