package backendkit_test

// options_test.go: addresses and certificates, with what people get wrong.

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/ports"
)

func TestEndpoints(t *testing.T) {
	for text, want := range map[string]string{
		"http://a:2379":             "http://a:2379",
		"a":                         "http://a:2379",
		"a:1, https://[::1] ,b.c:2": "http://a:1 https://[::1]:2379 http://b.c:2",
		"http://u:p@a/path?x=y":     "http://u:p@a:2379/path?x=y",
		",http://127.0.0.1:2379,,":  "http://127.0.0.1:2379",
	} {
		urls, err := backendkit.Endpoints("url", text, 2379, "http", "https")
		require.NoError(t, err, text)
		got := ""
		for i, u := range urls {
			if i > 0 {
				got += " "
			}
			got += u.String()
		}
		assert.Equal(t, want, got)
	}
	for text, want := range map[string]string{
		"":                       "it is empty",
		" , ":                    "it is empty",
		"redis://u:s3cret@a":     `the scheme is "redis"`,
		"nats://s3cret@a":        `the scheme is "nats"`, // a token
		"http://u:s3cret@a:port": "it is not a URL",
		"http://:2379":           "it names no host",
		"redis://a?p=s3cret":     `"redis://a"`,
		"http://u:s3cret@%zz":    "it is not a URL",
	} {
		_, err := backendkit.Endpoints("url", text, 2379, "http", "https")
		require.ErrorIs(t, err, ports.ErrInvalid, text)
		require.ErrorContains(t, err, "backend_config.url")
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "use http:// or https://HOST:2379")
		assert.NotContains(t, err.Error(), "s3cret")
	}
}

// writeCertificate writes a self-signed certificate and its key.
func writeCertificate(t *testing.T, dir, name string, until time.Time) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: until.Add(-48 * time.Hour), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	certFile, keyFile = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))
	return certFile, keyFile
}

func TestTLSConfig(t *testing.T) {
	dir := t.TempDir()
	cert, key := writeCertificate(t, dir, "good", time.Now().Add(time.Hour))
	_, otherKey := writeCertificate(t, dir, "other", time.Now().Add(time.Hour))
	old, oldKey := writeCertificate(t, dir, "old", time.Now().Add(-time.Hour))
	nothing := filepath.Join(dir, "nothing")
	junk := filepath.Join(dir, "junk")
	require.NoError(t, os.WriteFile(junk, []byte("junk"), 0o600))

	cfg, err := backendkit.TLS{CAFile: cert, CertFile: cert, KeyFile: key, ServerName: "srv"}.Config()
	require.NoError(t, err)
	assert.Equal(t, "srv", cfg.ServerName)
	assert.Len(t, cfg.Certificates, 1)
	assert.NotNil(t, cfg.RootCAs)
	cfg, err = backendkit.TLS{}.Config()
	require.NoError(t, err)
	assert.Nil(t, cfg.RootCAs, "the system's")

	for name, tt := range map[string]struct {
		tls  backendkit.TLS
		want string
	}{
		"no CA file":          {backendkit.TLS{CAFile: nothing}, "ca_file: "},
		"a CA file of junk":   {backendkit.TLS{CAFile: junk}, "it holds no certificate"},
		"a key alone":         {backendkit.TLS{KeyFile: key}, "cert_file: it is empty"},
		"a certificate alone": {backendkit.TLS{CertFile: cert}, "key_file: it is empty"},
		"no key file":         {backendkit.TLS{CertFile: cert, KeyFile: nothing}, "key_file: "},
		"another's key":       {backendkit.TLS{CertFile: cert, KeyFile: otherKey}, "no pair"},
		"an expired one":      {backendkit.TLS{CertFile: old, KeyFile: oldKey}, "expired at"},
	} {
		_, err := tt.tls.Config()
		require.ErrorIs(t, err, ports.ErrInvalid, name)
		require.ErrorContains(t, err, tt.want, name)
		require.ErrorContains(t, err, "backend_config.", name)
	}
	fields := map[string]bool{}
	for _, o := range backendkit.TLSOptions() {
		fields[o.Name] = true
		assert.NotEmpty(t, o.Doc)
	}
	assert.Equal(t, map[string]bool{"ca_file": true, "cert_file": true, "key_file": true, "server_name": true}, fields)
	assert.True(t, backendkit.TLS{}.IsZero())
}

func TestTLSProblemsNameAnOption(t *testing.T) {
	for want, err := range map[string]error{
		"backend_config.ca_file":     fmt.Errorf("dial: %w", x509.UnknownAuthorityError{}),
		"backend_config.server_name": x509.HostnameError{Certificate: &x509.Certificate{}, Host: "a"},
		"has expired":                x509.CertificateInvalidError{Reason: x509.Expired},
		"is not valid":               x509.CertificateInvalidError{Reason: x509.NotAuthorizedToSign},
		"backend_config.url":         tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"},
		"backend_config.cert_file":   tls.AlertError(42),
		"backend_config.key_file":    &net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")}, // as crypto/tls gives it
	} {
		assert.Contains(t, backendkit.TLSProblem(err), want)
	}
	assert.Empty(t, backendkit.TLSProblem(os.ErrNotExist))
}
