package tlscert

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var discard = slog.New(slog.DiscardHandler)

func leaf(t *testing.T, s *Source) *x509.Certificate {
	t.Helper()
	cert, err := s.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return cert.Leaf
}

func TestSelfSigned(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := SelfSigned(dir, discard)
	if err != nil {
		t.Fatal(err)
	}
	cert := leaf(t, s)
	for _, name := range hostNames() {
		if err := cert.VerifyHostname(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if key, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		t.Errorf("key is %T", cert.PublicKey)
	}
	if valid := cert.NotAfter.Sub(cert.NotBefore); valid > 825*24*time.Hour {
		t.Errorf("valid for %v: some clients refuse more than 825 days", valid)
	}
	for _, name := range []string{"cert.pem", "key.pem"} {
		st, err := os.Stat(filepath.Join(dir, "tls", name))
		if err != nil {
			t.Error(err)
		} else if st.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, st.Mode())
		}
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "tls")); err != nil || len(entries) != 2 {
		t.Errorf("left in the directory: %v, %v", entries, err)
	}

	again, err := SelfSigned(dir, discard)
	if err != nil {
		t.Fatal(err)
	}
	if !leaf(t, again).Equal(cert) {
		t.Error("a second start made another certificate: clients that trust the first are locked out")
	}

	// A client that trusts the file can connect, by every name and TLS version that it should, and by no older one.
	pem, err := os.ReadFile(s.CertFile())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatal("the file holds no certificate")
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", s.TLSConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // the test ended
			}
			go func() {
				_, _ = io.Copy(io.Discard, conn) // shakes hands, then waits for the client to go
				_ = conn.Close()
			}()
		}
	}()
	for name, c := range map[string]struct {
		config *tls.Config
		ok     bool
	}{
		"trusting":   {&tls.Config{RootCAs: pool, ServerName: "localhost"}, true},
		"by address": {&tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}, true},
		"TLS 1.2":    {&tls.Config{RootCAs: pool, ServerName: "localhost", MaxVersion: tls.VersionTLS12}, true},
		"TLS 1.1":    {&tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
		"not asked":  {&tls.Config{ServerName: "localhost"}, false},
		"other name": {&tls.Config{RootCAs: pool, ServerName: "example.org"}, false},
	} {
		conn, err := (&tls.Dialer{Config: c.config}).DialContext(t.Context(), "tcp", listener.Addr().String())
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestSelfSignedIsReplaced(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(t *testing.T, dir string){
		"broken":    func(t *testing.T, dir string) { t.Helper(); write(t, filepath.Join(dir, "tls/cert.pem"), "broken") },
		"empty key": func(t *testing.T, dir string) { t.Helper(); write(t, filepath.Join(dir, "tls/key.pem"), "") },
		"other's key": func(t *testing.T, dir string) {
			t.Helper()
			other := t.TempDir()
			if _, err := SelfSigned(other, discard); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "tls/key.pem"), read(t, filepath.Join(other, "tls/key.pem")))
		},
		"missing key": func(t *testing.T, dir string) {
			t.Helper()
			if err := os.Remove(filepath.Join(dir, "tls/key.pem")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		dir := t.TempDir()
		first, err := SelfSigned(dir, discard)
		if err != nil {
			t.Fatal(err)
		}
		spoil(t, dir)
		second, err := SelfSigned(dir, discard)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if leaf(t, second).Equal(leaf(t, first)) {
			t.Errorf("%s: not replaced", name)
		}
	}
}

// TestSelfSignedRenews: before it expires, a new one is made, at a start and while running.
func TestSelfSignedRenews(t *testing.T) {
	t.Parallel()
	s, err := SelfSigned(t.TempDir(), discard)
	if err != nil {
		t.Fatal(err)
	}
	first := leaf(t, s)
	s.now = func() time.Time { return first.NotAfter.Add(-renewBefore - time.Hour) }
	if !leaf(t, s).Equal(first) {
		t.Error("renewed too early")
	}
	s.now = func() time.Time { return first.NotAfter.Add(-renewBefore + time.Hour) }
	if second := leaf(t, s); second.Equal(first) || second.NotAfter.Before(first.NotAfter) {
		t.Error("not renewed while running")
	}
}

func TestFilesAreReloaded(t *testing.T) {
	t.Parallel()
	one, two, dir := t.TempDir(), t.TempDir(), t.TempDir()
	for _, d := range []string{one, two} {
		if _, err := SelfSigned(d, discard); err != nil {
			t.Fatal(err)
		}
	}
	cert, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	use := func(from string) {
		t.Helper()
		write(t, cert, read(t, filepath.Join(from, "tls/cert.pem")))
		write(t, key, read(t, filepath.Join(from, "tls/key.pem")))
	}
	use(one)
	var log bytes.Buffer
	s, err := Files(cert, key, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	s.now = func() time.Time { return now }
	first := leaf(t, s)

	later := now
	touch := func() {
		t.Helper()
		later = later.Add(time.Second) // file systems may have a coarse clock
		for _, f := range []string{cert, key} {
			if err := os.Chtimes(f, later, later); err != nil {
				t.Fatal(err)
			}
		}
	}
	use(two)
	touch()
	if !leaf(t, s).Equal(first) {
		t.Error("the files were looked at without need")
	}
	now = now.Add(checkEvery)
	second := leaf(t, s)
	if second.Equal(first) {
		t.Error("the changed files were not taken up")
	}
	// In the middle of a replacement, or after a bad one, the last good pair stays.
	write(t, key, read(t, filepath.Join(one, "tls/key.pem")))
	touch()
	now = now.Add(checkEvery)
	if !leaf(t, s).Equal(second) || !strings.Contains(log.String(), "not usable") {
		t.Errorf("a key that does not fit: log %s", log.String())
	}
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	now = now.Add(checkEvery)
	if !leaf(t, s).Equal(second) {
		t.Error("a missing file took the certificate away")
	}
	use(one)
	touch()
	now = now.Add(checkEvery)
	if !leaf(t, s).Equal(first) {
		t.Error("not taken up after it was mended")
	}
	if strings.Contains(log.String(), "PRIVATE KEY") {
		t.Error("the log shows a key")
	}

	if _, err := Files(cert, filepath.Join(dir, "none.pem"), discard); err == nil {
		t.Error("a missing key at the start: no error")
	}
	if _, err := Files(cert, filepath.Join(two, "tls/key.pem"), discard); err == nil || !strings.Contains(err.Error(), "match") {
		t.Errorf("a key that does not fit at the start: %v", err)
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return string(text)
}
