package authsvc

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gatehouse/event"
	"gatehouse/internal/reldb"
)

// SecretKeyFile is where a key that was not configured is kept, in the data directory.
const SecretKeyFile = "secret.key"

// minSecretKey is the least length of a secret key in bytes: 128 bits when written in hex.
const minSecretKey = 32

func checkSecretKey(key string) error {
	if len(key) < minSecretKey {
		return event.FieldError("secret_key", "has a key of %d characters: each needs at least %d; make one with `openssl rand -hex 32`, or leave it empty to have one made and kept", len(key), minSecretKey)
	}
	return nil
}

// ParseSecretKey reads a configured secret key: one key, or several separated by commas while one is being exchanged for another: the new one
// first, then those before it. What was sealed and signed with the old ones is still read; they may go when nobody needs that any more.
func ParseSecretKey(configured string) ([]string, error) {
	var keys []string
	for key := range strings.SplitSeq(configured, ",") {
		key = strings.TrimSpace(key)
		if err := checkSecretKey(key); err != nil {
			return nil, err
		}
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// LoadSecretKey gives the secret keys: those configured, else the one in the data directory, which is made on the first start (readable by its owner alone). Several
// processes may start at once: they get the same.
func LoadSecretKey(configured, dataDir string) ([]string, error) {
	if strings.TrimSpace(configured) != "" {
		return ParseSecretKey(configured)
	}
	path := filepath.Join(dataDir, SecretKeyFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeSecretKey(path); err != nil {
			return nil, event.Wrap(event.CodeInternal, err, "make the secret key")
		}
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, event.Wrap(event.CodeInternal, err, "read the secret key")
	}
	keys, err := ParseSecretKey(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: restore it from a backup (without it, authenticator apps must be set up again and everybody signs in anew): %w", path, err)
	}
	return keys, nil
}

// makeSecretKey writes a new key whole, durably and only where there is none yet.
func makeSecretKey(path string) (err error) {
	var random [32]byte
	if _, err := rand.Read(random[:]); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.WriteString(hex.EncodeToString(random[:]) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	// A link fails where the name is taken: of several processes the first one wins, and nobody ever reads half a key.
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// secretKeyCheck is the row of the settings table that tells which secret key belongs to the database. It is no setting.
const secretKeyCheck = "internal.secret_key_check"

const (
	selectKeyCheck = `SELECT value FROM settings WHERE name = ?`
	insertKeyCheck = `INSERT INTO settings (name, value, updated_at) VALUES (?, ?, ?)`
	updateKeyCheck = `UPDATE settings SET value = ?, updated_at = ? WHERE name = ?`
)

// CheckSecretKey makes sure that this server has the secret key that belongs to the database, so that no two servers seal what the other cannot
// open. The first server to ask decides which it is; one that knows the key and has a newer one moves the mark on. What is stored is a keyed hash, which
// tells nothing of the key. A wrong key is CodeConflict, with what to do about it.
func (s *Store) CheckSecretKey(ctx context.Context, sealer *Sealer) error {
	marks := sealer.MACs(purposeCheck, "gatehouse")
	err := s.db.Update(ctx, func(tx *reldb.Tx) error {
		var stored string
		err := tx.QueryRow(ctx, selectKeyCheck, secretKeyCheck).Scan(&stored)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			_, err := tx.Exec(ctx, insertKeyCheck, secretKeyCheck, marks[0], millis(s.now()))
			return err
		case err != nil || stored == marks[0]:
			return err
		case slices.Contains(marks, stored):
			_, err := tx.Exec(ctx, updateKeyCheck, marks[0], millis(s.now()), secretKeyCheck)
			return err
		}
		return errOtherKey
	})
	if reldb.IsUnique(err) {
		// Another server was first by a moment: its mark is the one that counts.
		var stored string
		if err = s.db.QueryRow(ctx, selectKeyCheck, secretKeyCheck).Scan(&stored); err == nil && !slices.Contains(marks, stored) {
			err = errOtherKey
		}
	}
	return fail(err, "check the secret key")
}

var errOtherKey = event.Errorf(event.CodeConflict, "this database belongs to another secret key: give every server on it the same [security] secret_key (or the same %s in its data directory). "+
	"To exchange the key, write the new one first and the old one after it, separated by a comma", SecretKeyFile)
