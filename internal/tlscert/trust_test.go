package tlscert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// issued makes a certificate for a name, signed by an authority of its own, and gives the authority.
func issued(t *testing.T, certFile, keyFile, name string) *x509.Certificate {
	t.Helper()
	sign := func(template, parent *x509.Certificate, pub *ecdsa.PrivateKey, by *ecdsa.PrivateKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, template, parent, pub.Public(), by)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	caKey, leafKey := key(), key()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(90 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER := sign(ca, ca, caKey, caKey)
	leafDER := sign(&x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotAfter: ca.NotAfter}, ca, leafKey, caKey)
	keyDER, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	write(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leafDER})))
	write(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})))
	authority, err := x509.ParseCertificate(caDER)
	if err != nil {
		t.Fatal(err)
	}
	return authority
}

// TestReplacedWhileServing: a server on its own certificate takes an authority's up without a restart, and says what it is.
func TestReplacedWhileServing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := SelfSigned(dir, discard)
	if err != nil {
		t.Fatal(err)
	}
	cert, key := filepath.Join(dir, "tls/cert.pem"), filepath.Join(dir, "tls/key.pem")
	s, err := Files(cert, key, discard)
	if err != nil {
		t.Fatal(err)
	}
	clock := make(chan time.Time, 1)
	clock <- time.Now()
	s.now = func() time.Time { now := <-clock; clock <- now; return now }
	if !first.IsSelfSigned() || !s.IsSelfSigned() || !s.Covers("localhost") || !s.Covers("127.0.0.1") || s.Covers("gate.example") || s.Covers("") {
		t.Error("a self-signed certificate is not known as that, or for other names")
	}

	listener, err := tls.Listen("tcp", "127.0.0.1:0", s.TLSConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return // the test ended
			}
			go func(c net.Conn) {
				_, _ = io.Copy(c, c) // echoes until the client goes
				_ = c.Close()
			}(c)
		}
	}()
	connect := func(roots *x509.CertPool, name string) (net.Conn, error) {
		return (&tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: name}}).DialContext(t.Context(), "tcp", listener.Addr().String())
	}
	own := x509.NewCertPool()
	own.AddCert(leaf(t, first))
	old, err := connect(own, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = old.Close() }()

	authority := x509.NewCertPool()
	authority.AddCert(issued(t, cert, key, "gate.example"))
	clock <- (<-clock).Add(checkEvery)
	c, err := connect(authority, "gate.example")
	if err != nil {
		t.Fatalf("the new certificate is not served: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if s.IsSelfSigned() || !s.Covers("gate.example") || s.Covers("localhost") {
		t.Error("the authority's certificate is taken for self-signed, or for other names")
	}
	// Who was connected before goes on.
	if _, err := io.WriteString(old, "x"); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(old, make([]byte, 1)); err != nil {
		t.Errorf("an open connection was lost: %v", err)
	}
}
