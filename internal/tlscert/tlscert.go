// Package tlscert gives the server its certificate: the operator's own files, or a self-signed one made at the first start so
// that nothing is ever sent in the clear only because nobody had a certificate yet. Changed files are taken up without
// a restart.
package tlscert

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	dirName  = "tls"
	certName = "cert.pem"
	keyName  = "key.pem"

	// selfSignedFor is how long a self-signed certificate is valid. Clients that pin it must be told of the next one, so
	// it is long; some refuse a server certificate of more than 825 days, so it is not longer.
	selfSignedFor = 825 * 24 * time.Hour
	// renewBefore is when a new one replaces it, at a start or while running.
	renewBefore = 30 * 24 * time.Hour
	// checkEvery is how often the files are looked at, when a client connects.
	checkEvery = 5 * time.Second
)

// Source is a certificate in two files. It is safe for concurrent use.
type Source struct {
	certFile, keyFile string
	selfSigned        bool // the files are ours to renew
	log               *slog.Logger
	now               func() time.Time

	distrusted atomic.Bool // the certificate is nobody's but its own word; see IsSelfSigned

	mu      sync.Mutex
	cert    *tls.Certificate
	stamp   [2]fileStamp
	checked time.Time
}

// fileStamp tells one state of a file from the next. Kubernetes and certbot replace symbolic links, which Stat follows.
type fileStamp struct {
	modified time.Time
	size     int64
}

// Files serves the operator's own certificate and key. They must be readable and fit each other now; a later state that is
// not keeps the certificate before it in use, with an error in the log.
func Files(certFile, keyFile string, log *slog.Logger) (*Source, error) {
	s := &Source{certFile: certFile, keyFile: keyFile, log: log, now: time.Now}
	return s, s.start()
}

// SelfSigned serves the certificate in dataDir/tls, and makes one when there is none, or when the one there is about to expire
// or does not name this host.
func SelfSigned(dataDir string, log *slog.Logger) (*Source, error) {
	dir := filepath.Join(dataDir, dirName)
	s := &Source{certFile: filepath.Join(dir, certName), keyFile: filepath.Join(dir, keyName), selfSigned: true, log: log, now: time.Now}
	return s, s.start()
}

func (s *Source) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.selfSigned {
		if err := s.renew(); err != nil {
			return err
		}
	}
	if err := s.load(); err != nil {
		return err
	}
	s.checked = s.now()
	if left := s.cert.Leaf.NotAfter.Sub(s.checked); left < renewBefore {
		s.log.Warn("the TLS certificate expires soon or has expired", slog.String("file", s.certFile), slog.Time("not_after", s.cert.Leaf.NotAfter))
	}
	return nil
}

// TLSConfig is the server's TLS configuration with this certificate.
func (s *Source) TLSConfig() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: s.GetCertificate,
		NextProtos:     []string{"h2", "http/1.1"},
	}
}

// CertFile is where the certificate is, for telling clients what to trust.
func (s *Source) CertFile() string { return s.certFile }

// IsSelfSigned tells whether the certificate in use is signed by itself: clients that do not know it refuse it.
func (s *Source) IsSelfSigned() bool { return s.distrusted.Load() }

// Covers tells whether the certificate in use is valid for a host, a name or an address without port.
func (s *Source) Covers(host string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return covers(s.cert.Leaf, []string{host})
}

// GetCertificate is for tls.Config. It takes up changed files.
func (s *Source) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if since := now.Sub(s.checked); since >= 0 && since < checkEvery {
		return s.cert, nil
	}
	s.checked = now
	if s.selfSigned && s.cert.Leaf.NotAfter.Sub(now) < renewBefore {
		if err := s.renew(); err != nil {
			s.log.Error("the self-signed certificate could not be renewed", slog.Any("error", err))
		}
	}
	stamp, err := s.stamps()
	if err == nil && stamp == s.stamp {
		return s.cert, nil
	}
	if err == nil {
		err = s.load()
	}
	if err != nil {
		s.log.Error("the changed TLS certificate is not usable; the one before stays in use", slog.Any("error", err))
		return s.cert, nil
	}
	s.log.Info("took up the changed TLS certificate", slog.String("file", s.certFile), slog.Time("not_after", s.cert.Leaf.NotAfter))
	return s.cert, nil
}

func (s *Source) stamps() ([2]fileStamp, error) {
	var out [2]fileStamp
	for i, file := range []string{s.certFile, s.keyFile} {
		st, err := os.Stat(file)
		if err != nil {
			return out, err
		}
		out[i] = fileStamp{st.ModTime(), st.Size()}
	}
	return out, nil
}

func (s *Source) load() error {
	// The stamp comes before the contents: a file changed in between is read again at the next check.
	stamp, err := s.stamps()
	if err != nil {
		return fmt.Errorf("TLS certificate: %w", err)
	}
	cert, err := tls.LoadX509KeyPair(s.certFile, s.keyFile)
	if err != nil {
		return fmt.Errorf("TLS certificate %s with key %s: %w", s.certFile, s.keyFile, err)
	}
	s.cert, s.stamp = &cert, stamp
	leaf := cert.Leaf
	s.distrusted.Store(bytes.Equal(leaf.RawIssuer, leaf.RawSubject) && leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature) == nil)
	return nil
}

// renew makes a new self-signed certificate unless the one there will do.
func (s *Source) renew() error {
	names := hostNames()
	cert, err := tls.LoadX509KeyPair(s.certFile, s.keyFile)
	switch {
	case err == nil && cert.Leaf.NotAfter.Sub(s.now()) >= renewBefore && covers(cert.Leaf, names):
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		s.log.Warn("the self-signed certificate cannot be used and is replaced", slog.Any("error", err))
	}
	return s.generate(names)
}

// hostNames are what a certificate of our own must be valid for: what a person on this machine types, and its name.
func hostNames() []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	// A host name that no certificate can carry would never be covered, and each start would make a new one.
	if host, err := os.Hostname(); err == nil && dnsName.MatchString(host) && !slices.Contains(names, host) {
		names = append(names, host)
	}
	return names
}

var dnsName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?)*$`)

func covers(cert *x509.Certificate, names []string) bool {
	for _, n := range names {
		if cert.VerifyHostname(n) != nil {
			return false
		}
	}
	return true
}

func (s *Source) generate(names []string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make a TLS key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return fmt.Errorf("make a TLS certificate: %w", err)
	}
	now := s.now()
	template := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)),
		Subject:      pkix.Name{CommonName: names[len(names)-1], Organization: []string{"Gatehouse, self-signed"}},
		// Some clients' clocks are behind.
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(selfSignedFor - 24*time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("make a TLS certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("make a TLS key: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(s.keyFile), 0o700); err != nil {
		return fmt.Errorf("TLS directory: %w", err)
	}
	// A crash between the two leaves a pair that does not fit, which the next start replaces.
	if err := writePEM(s.keyFile, "PRIVATE KEY", keyDER); err != nil {
		return err
	}
	if err := writePEM(s.certFile, "CERTIFICATE", der); err != nil {
		return err
	}
	s.log.Info("made a self-signed TLS certificate", slog.String("file", s.certFile), slog.Any("names", names))
	return nil
}

// writePEM replaces a file as a whole, readable by its owner alone from its first byte on.
func writePEM(file, kind string, der []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("TLS files: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("TLS files: %w", err), os.Remove(f.Name()))
		}
	}()
	err = pem.Encode(f, &pem.Block{Type: kind, Bytes: der})
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
