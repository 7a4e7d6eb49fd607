package stores

// certificates.go: an authority for one cluster, and what it issued.

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Certificates are PEM files that tests hand to clients.
type Certificates struct {
	CA, Cert, Key           string // What a client needs; its name is "prism", as that of Credentials.User.
	ExpiredCert, ExpiredKey string // A client's that ran out a day ago.
	OtherCA                 string // An authority that issued none of these.

	serverCert, serverKey string
}

// issue writes certificates into dir, and returns with them how this package itself connects.
// expired says that the server's has run out.
func issue(dir string, expired bool) (Certificates, *tls.Config, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Certificates{}, nil, err
	}
	file := func(name string) string { return filepath.Join(dir, name+".pem") }
	files := Certificates{
		CA: file("ca"), Cert: file("client"), Key: file("client-key"),
		ExpiredCert: file("expired"), ExpiredKey: file("expired-key"), OtherCA: file("other-ca"),
		serverCert: file("server"), serverKey: file("server-key"),
	}
	ownCert, ownKey := file("own"), file("own-key")
	now := time.Now()
	year, day := 365*24*time.Hour, 24*time.Hour
	ca, err := newAuthority("Prism test authority", now)
	if err != nil {
		return Certificates{}, nil, err
	}
	other, err := newAuthority("Another authority", now)
	if err != nil {
		return Certificates{}, nil, err
	}
	serverEnd := now.Add(year)
	if expired {
		serverEnd = now.Add(-day)
	}
	for _, leaf := range []struct {
		name, cert, key string
		ends            time.Time
	}{
		{"localhost", files.serverCert, files.serverKey, serverEnd},
		{"prism", files.Cert, files.Key, now.Add(year)},
		// Ours has no name: with authentication etcd's gateway refuses whoever has one.
		{"", ownCert, ownKey, now.Add(year)},
		{"prism", files.ExpiredCert, files.ExpiredKey, now.Add(-day)},
	} {
		if err := ca.issue(leaf.name, leaf.cert, leaf.key, leaf.ends); err != nil {
			return Certificates{}, nil, err
		}
	}
	for file, a := range map[string]*authority{files.CA: ca, files.OtherCA: other} {
		if err := writePEM(file, "CERTIFICATE", a.cert.Raw); err != nil {
			return Certificates{}, nil, err
		}
	}
	own, err := tls.LoadX509KeyPair(ownCert, ownKey)
	if err != nil {
		return Certificates{}, nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	config := &tls.Config{ServerName: loopback, RootCAs: roots, Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS12}
	if expired {
		config.Time = func() time.Time { return now.Add(-2 * day) }
	}
	return files, config, nil
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// authorityAge is how long before now everything begins: before what has run out.
const authorityAge = 10 * 24 * time.Hour

func newAuthority(name string, now time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-authorityAge), NotAfter: now.Add(366 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(raw)
	return &authority{cert: cert, key: key}, err
}

// issue writes a certificate for a server and for a client: etcd's gateway, for one, is both.
func (a *authority) issue(name, certFile, keyFile string, ends time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		return err
	}
	raw, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: a.cert.NotBefore, NotAfter: ends,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{"localhost", "server.dc1.consul"},
		IPAddresses: []net.IP{net.ParseIP(loopback), net.IPv6loopback},
	}, a.cert, key.Public(), a.key)
	if err != nil {
		return err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writePEM(certFile, "CERTIFICATE", raw); err != nil {
		return err
	}
	return writePEM(keyFile, "PRIVATE KEY", encoded)
}

func writePEM(file, kind string, content []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600)
}
