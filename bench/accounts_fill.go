package bench

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"

	"gatehouse/internal/reldb"
)

// The shape of what is filled in: people belong to a few companies, one company is large, one operator has many.
const (
	keysEach          = 2 // of a company
	auditEach         = 2 // entries of a person
	inLargest         = 10
	operatorCompanies = 1000
	fillAtOnce        = 5000 // rows in one transaction
)

const (
	fillCompany = `INSERT INTO companies (name, name_key, timezone, max_session, created_at, revision) VALUES (?, ?, 'UTC', 86400, ?, 1)`
	fillKey     = `INSERT INTO api_keys (company_id, description, key_prefix, key_hash, scopes, created_at, revision) VALUES (?, ?, ?, ?, 'ingest,read', ?, 1)`
	fillPerson  = `INSERT INTO users (username, username_key, email, email_key, display_name, password_hash, role, created_at, approved_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`
	fillMember  = `INSERT INTO memberships (user_id, company_id, role, created_at) VALUES (?, ?, ?, ?)`
	fillAudit   = `INSERT INTO audit_log (seq, at, action, outcome, actor_kind, actor_id, actor_name, company_id, target_kind, target_id, target_name, ip, before_json, after_json, prev_hash, hash)
    VALUES (?, ?, ?, 'success', 'person', ?, ?, ?, 'user', ?, ?, '192.0.2.1', '', '', '', ?)`
	fillError      = `INSERT INTO error_log (first_at, last_at, occurrences, level, logger, message, fingerprint, attributes, stack) VALUES (?, ?, 1, 8, 'bench', ?, ?, '', '')`
	lastCompany    = `SELECT MAX(id) FROM companies`
	lastAudit      = `SELECT last_seq FROM audit_head WHERE id = 1`
	moveAuditHead  = `UPDATE audit_head SET last_seq = ?, last_hash = ? WHERE id = 1`
	hashOfFirst    = `SELECT password_hash FROM users WHERE username_key = ?`
	fillAt         = 1_767_225_600_000 // 2026-01-01
	operatorName   = "operator"
	benchPassword  = "plover-anvil-7-quartz" //nolint:gosec // of a server that lives for the measurement alone
	firstAdminName = "superadmin"
)

// filler writes rows in transactions of a size that SQLite likes.
type filler struct {
	db   *reldb.DB
	todo []func(context.Context, *reldb.Tx) error
}

func (f *filler) add(ctx context.Context, row func(context.Context, *reldb.Tx) error) error {
	if f.todo = append(f.todo, row); len(f.todo) < fillAtOnce {
		return nil
	}
	return f.flush(ctx)
}

func (f *filler) exec(ctx context.Context, statement string, args ...any) error {
	return f.add(ctx, func(ctx context.Context, tx *reldb.Tx) error {
		_, err := tx.Exec(ctx, statement, args...)
		return err
	})
}

func (f *filler) flush(ctx context.Context) error {
	rows := f.todo
	f.todo = nil
	return f.db.Update(ctx, func(tx *reldb.Tx) error {
		for _, row := range rows {
			if err := row(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
}

func sum(text string) string {
	s := sha256.Sum256([]byte(text))
	return hex.EncodeToString(s[:])
}

// fillAccounts fills the database of a server that does not run, which has started once.
func fillAccounts(ctx context.Context, dataDir string, people, companies int) (err error) {
	db, err := reldb.Open(ctx, reldb.SQLiteURL(filepath.Join(dataDir, "gatehouse.db")))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	f := &filler{db: db}
	var firstID, seq int
	var hash string
	if err := db.QueryRow(ctx, lastCompany).Scan(&firstID); err != nil {
		return err
	}
	if err := db.QueryRow(ctx, lastAudit).Scan(&seq); err != nil {
		return err
	}
	if err := db.QueryRow(ctx, hashOfFirst, firstAdminName).Scan(&hash); err != nil {
		return err
	}
	firstID++
	for i := range companies {
		name := fmt.Sprintf("company %05d", i)
		if err := f.exec(ctx, fillCompany, name, name, fillAt); err != nil {
			return err
		}
	}
	for i := range companies * keysEach {
		secret := sum(fmt.Sprintf("key %d", i))
		if err := f.exec(ctx, fillKey, firstID+i%companies, fmt.Sprintf("site %d", i), "gh_"+secret[:8], secret, fillAt); err != nil {
			return err
		}
	}
	for i := range people {
		if err := f.person(ctx, i, people, companies, firstID, hash); err != nil {
			return err
		}
	}
	for i := range people * auditEach {
		seq++
		name := fmt.Sprintf("person %06d", i%people)
		if err := f.exec(ctx, fillAudit, seq, fillAt+i, []string{"session.sign_in", "key.create"}[i%2], 2+i%people, name, firstID+i%companies, 2+i%people, name, sum(name)); err != nil {
			return err
		}
		if err := f.exec(ctx, fillError, fillAt+i, fillAt+i, "it did not work", sum(fmt.Sprint(i))); err != nil {
			return err
		}
	}
	if err := f.exec(ctx, moveAuditHead, seq, sum("bench")); err != nil {
		return err
	}
	return f.flush(ctx)
}

// person adds one person with memberships; the first is the operator, whose password is the first administrator's.
func (f *filler) person(ctx context.Context, i, people, companies, firstID int, hash string) error {
	// Multiplying by a number without a common factor spreads the names, so that their order is not that of the ids.
	name, role, in := fmt.Sprintf("person %06d", i*7919%people), "User", []int{i % companies, (i*31 + 7) % companies}
	if i%inLargest == 0 {
		in = append(in, companies-1)
	}
	if i == 0 {
		name, role, in = operatorName, "Admin", nil
		for c := range min(operatorCompanies, companies) {
			in = append(in, c)
		}
	} else {
		hash = ""
	}
	return f.add(ctx, func(ctx context.Context, tx *reldb.Tx) error {
		id, err := tx.Insert(ctx, fillPerson, name, name, name+"@example.com", name+"@example.com", name, hash, role, fillAt, fillAt)
		if err != nil {
			return err
		}
		seen := map[int]bool{}
		for n, c := range in {
			if seen[c] {
				continue
			}
			seen[c] = true
			member := "User"
			switch {
			case role == "Admin":
				member = "Admin"
			case n == 0 && i%2 == 0:
				member = "CompanyAdmin"
			}
			if _, err := tx.Exec(ctx, fillMember, id, firstID+c, member, fillAt); err != nil {
				return err
			}
		}
		return nil
	})
}
