package authsvc_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gatehouse/authsvc"
	"gatehouse/event"
)

func TestLoadSecretKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if keys, err := authsvc.LoadSecretKey(keyA, dir); err != nil || len(keys) != 1 || keys[0] != keyA {
		t.Errorf("configured: %q, %v", keys, err)
	}
	path := filepath.Join(dir, authsvc.SecretKeyFile)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("a configured key made a file: %v", err)
	}
	// Many first starts at once get one key.
	var mu sync.Mutex
	got := map[string]bool{}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			keys, err := authsvc.LoadSecretKey("", dir)
			if err != nil || len(keys) != 1 {
				t.Errorf("%q, %v", keys, err)
				return
			}
			mu.Lock()
			got[keys[0]] = true
			mu.Unlock()
		})
	}
	wg.Wait()
	if len(got) != 1 {
		t.Errorf("%d different keys", len(got))
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("left behind: %v, %v", files, err)
	}
	if other, err := authsvc.LoadSecretKey("", t.TempDir()); err != nil || got[other[0]] || len(other[0]) != 64 {
		t.Errorf("another installation: %q, %v", other, err)
	}
	if err := os.WriteFile(path, []byte("cut off"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := authsvc.LoadSecretKey("", dir); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged file: %v", err)
	}
	if _, err := authsvc.LoadSecretKey("", filepath.Join(dir, "missing")); err == nil {
		t.Error("without a data directory there is a key")
	}
}

func TestCheckSecretKey(t *testing.T) {
	eachStore(t, func(t *testing.T, open func(...authsvc.Option) *authsvc.Store) {
		ctx := t.Context()
		a, b := newSealer(t, keyA), newSealer(t, keyB)
		both := newSealer(t, keyB, keyA)

		// Two servers start at once with different keys: one of them starts.
		var mu sync.Mutex
		var passed []*authsvc.Sealer
		var wg sync.WaitGroup
		for i, sealer := range []*authsvc.Sealer{a, b, a, b} {
			s := open()
			wg.Go(func() {
				err := s.CheckSecretKey(ctx, sealer)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					passed = append(passed, sealer)
				} else if event.ErrorCode(err) != event.CodeConflict || !strings.Contains(err.Error(), "secret_key") {
					t.Errorf("server %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		if len(passed) != 2 || passed[0] != passed[1] {
			t.Fatalf("%d servers started", len(passed))
		}

		s := open()
		if _, err := s.DB().Writer().ExecContext(ctx, `DELETE FROM settings`); err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			sealer *authsvc.Sealer
			ok     bool
		}{{a, true}, {b, false}, {a, true}, {both, true}, {a, false}, {b, true}, {both, true}} {
			err := s.CheckSecretKey(ctx, step.sealer)
			if (err == nil) != step.ok {
				t.Errorf("%v, want ok %v", err, step.ok)
			}
		}
		var stored string
		if err := s.DB().QueryRow(ctx, `SELECT value FROM settings`).Scan(&stored); err != nil || strings.Contains(stored, keyB) || len(stored) != 64 {
			t.Errorf("stored: %q, %v", stored, err)
		}
	})
}
