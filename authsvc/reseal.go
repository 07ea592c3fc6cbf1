package authsvc

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"gatehouse/internal/reldb"
)

// resealRows is how many sealed values are renewed in one transaction.
const resealRows = 500

// sealedPlace is a column of sealed values.
type sealedPlace struct {
	what       string
	purpose    Purpose
	first      any    // before all keys of the table
	selectNext string // key and value of the rows behind a key, in the order of keys
	update     string // not when it was changed meanwhile: whoever did so has sealed it
	ofPerson   bool   // the row is a person's, by number
}

// sealedPlaces are all of them in the database. Whoever adds one adds it here, or its values are lost with the key that they were sealed with.
var sealedPlaces = []sealedPlace{
	{
		"authenticator apps", PurposeTOTP, int64(0), `SELECT id, totp_secret FROM users WHERE id > ? AND totp_secret IS NOT NULL ORDER BY id`,
		`UPDATE users SET totp_secret = ? WHERE id = ? AND totp_secret = ?`, true,
	},
	{
		"authenticator apps that are being set up", PurposeTOTP, int64(0), `SELECT id, totp_pending FROM users WHERE id > ? AND totp_pending IS NOT NULL ORDER BY id`,
		`UPDATE users SET totp_pending = ? WHERE id = ? AND totp_pending = ?`, true,
	},
	{
		"sessions in the database", PurposeSession, "", `SELECT id_hash, data FROM web_sessions WHERE id_hash > ? ORDER BY id_hash`,
		`UPDATE web_sessions SET data = ? WHERE id_hash = ? AND data = ?`, false,
	},
}

// Resealed is what Reseal did with one kind of sealed values.
type Resealed struct {
	What       string `json:"what"`
	Renewed    int64  `json:"renewed"`    // were under an older key
	Current    int64  `json:"current"`    // are under the current key now
	Older      int64  `json:"older"`      // are still under an older one: a server that has no other wrote them meanwhile
	Unreadable int64  `json:"unreadable"` // are under a key that is not there, or damaged
}

// Reseal seals every sealed value of the database anew that is not under the current key, and tells how all of them stand then. When nothing is left under
// an older key, that key can be taken away. It may run beside servers, and again after an interruption.
func (s *Store) Reseal(ctx context.Context, actor *Actor, sealer *Sealer) ([]Resealed, error) {
	if err := actor.Require(PermChangeSettings, 0); err != nil {
		return nil, err
	}
	list := make([]Resealed, len(sealedPlaces))
	for i := range sealedPlaces {
		p, r := &sealedPlaces[i], &list[i]
		r.What = p.what
		if err := s.eachSealed(ctx, p, func(page []sealedValue) error {
			n, err := s.resealPage(ctx, p, page, sealer)
			r.Renewed += n
			return err
		}); err != nil {
			return nil, fail(err, "seal secrets anew")
		}
		if err := s.eachSealed(ctx, p, func(page []sealedValue) error {
			for _, v := range page {
				switch _, err := sealer.Open(p.purpose, v.row, v.sealed); {
				case err != nil:
					r.Unreadable++
				case sealer.Stale(v.sealed):
					r.Older++
				default:
					r.Current++
				}
			}
			return nil
		}); err != nil {
			return nil, fail(err, "count sealed secrets")
		}
	}
	return list, s.Record(ctx, actor, Entry{Action: "secret.reseal", TargetKind: "secret key", After: list})
}

// sealedValue is one value with the row that it is sealed for.
type sealedValue struct {
	key         any // of the row, as the database has it
	row, sealed string
}

// resealPage seals anew what of a page is under an older key, in one transaction. What cannot be opened stays.
func (s *Store) resealPage(ctx context.Context, p *sealedPlace, page []sealedValue, sealer *Sealer) (renewed int64, err error) {
	page = slices.DeleteFunc(slices.Clone(page), func(v sealedValue) bool { return !sealer.Stale(v.sealed) })
	if len(page) == 0 {
		return 0, nil
	}
	err = s.db.Update(ctx, func(tx *reldb.Tx) error {
		renewed = 0 // anew: the transaction may be tried again
		for _, v := range page {
			plain, err := sealer.Open(p.purpose, v.row, v.sealed)
			if err != nil {
				continue
			}
			again, err := sealer.Seal(p.purpose, v.row, plain)
			if err != nil {
				return err
			}
			n, err := tx.Exec(ctx, p.update, again, v.key, v.sealed)
			if err != nil {
				return err
			}
			renewed += n
		}
		return nil
	})
	return renewed, err
}

// eachSealed calls fn for every page of the values of a place.
func (s *Store) eachSealed(ctx context.Context, p *sealedPlace, fn func([]sealedValue) error) error {
	for after := p.first; ; {
		page, err := s.sealedPage(ctx, p, after)
		if err != nil {
			return err
		}
		if err := fn(page); err != nil {
			return err
		}
		if len(page) < resealRows {
			return nil
		}
		after = page[len(page)-1].key
	}
}

func (s *Store) sealedPage(ctx context.Context, p *sealedPlace, after any) (page []sealedValue, err error) {
	rows, err := s.db.Query(ctx, p.selectNext+firstRows(s.db.Dialect(), resealRows), after)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var v sealedValue
		if err := rows.Scan(&v.row, &v.sealed); err != nil {
			return nil, err
		}
		v.key = v.row
		if p.ofPerson {
			if v.key, err = strconv.ParseInt(v.row, 10, 64); err != nil {
				return nil, err
			}
		}
		page = append(page, v)
	}
	return page, rows.Err()
}
