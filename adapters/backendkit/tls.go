package backendkit

// tls.go: the options of an encrypted connection, the same for every store.

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// TLS are the options of an encrypted connection. Embed it in a backend's Options, list
// TLSOptions in its schema. The zero value asks for the system's certificate authorities and
// no client certificate.
type TLS struct {
	CAFile     string `json:"ca_file"`
	CertFile   string `json:"cert_file"`
	KeyFile    string `json:"key_file"`
	ServerName string `json:"server_name"`
}

// TLSOptions describes the fields of TLS.
func TLSOptions() []ports.Option {
	return []ports.Option{
		{Name: "ca_file", Type: ports.OptionString, Doc: "PEM file of the certificate authorities that the server's certificate may come from; the system's when empty."},
		{Name: "cert_file", Type: ports.OptionString, Doc: "PEM file of the client's certificate, for servers that ask for one."},
		{Name: "key_file", Type: ports.OptionString, Doc: "PEM file of the client certificate's private key."},
		{Name: "server_name", Type: ports.OptionString, Doc: "Name that the server's certificate must have, where it is not the host of the url."},
	}
}

// IsZero reports whether no option is set.
func (t TLS) IsZero() bool { return t == TLS{} }

// Config reads the files. Errors name the option, the file and what is wrong: a certificate
// that has expired is refused here, as servers only say that it is bad.
func (t TLS) Config() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, core.Invalid(OptionField("ca_file"), t.CAFile, "it cannot be read: "+reason(err))
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, core.Invalid(OptionField("ca_file"), t.CAFile, "it holds no certificate; use a PEM file")
		}
	}
	switch {
	case t.CertFile == "" && t.KeyFile == "":
		return cfg, nil
	case t.CertFile == "":
		return nil, &core.FieldError{Field: OptionField("cert_file"), Allowed: "it is empty and key_file is not; give both or neither"}
	case t.KeyFile == "":
		return nil, &core.FieldError{Field: OptionField("key_file"), Allowed: "it is empty and cert_file is not; give both or neither"}
	}
	for option, file := range map[string]string{"cert_file": t.CertFile, "key_file": t.KeyFile} {
		if _, err := os.ReadFile(file); err != nil {
			return nil, core.Invalid(OptionField(option), file, "it cannot be read: "+reason(err))
		}
	}
	pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, core.Invalid(OptionField("cert_file"), t.CertFile, fmt.Sprintf("it and key_file %q are no pair of certificate and key: %s", t.KeyFile, reason(err)))
	}
	if leaf := pair.Leaf; leaf != nil && time.Now().After(leaf.NotAfter) {
		return nil, core.Invalid(OptionField("cert_file"), t.CertFile, "the certificate expired at "+core.FormatTime(leaf.NotAfter)+"; renew it")
	}
	cfg.Certificates = []tls.Certificate{pair}
	return cfg, nil
}

// TLSProblem says in words what is wrong with a server's certificate, and which option to look
// at; "" for an error that is none of TLS.
func TLSProblem(err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "the server's certificate is of an authority that is not known here; set " + OptionField("ca_file")
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "the server's certificate is for another name; set " + OptionField("server_name")
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if e.Reason == x509.Expired {
			return "the server's certificate has expired or is not valid yet; renew it at the server"
		}
		return "the server's certificate is not valid; look at " + OptionField("ca_file")
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "the server does not speak TLS there; look at the scheme in " + OptionField("url")
	}
	refused := func(why error) string {
		return fmt.Sprintf("the server refused the TLS connection (%s); look at %s and %s", why, OptionField("cert_file"), OptionField("key_file"))
	}
	if alert, ok := errors.AsType[tls.AlertError](err); ok {
		return refused(alert)
	}
	// Over TCP an alert of the other side has no type that is exported.
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		return refused(op.Err)
	}
	return ""
}

// reason is an error without the path, which the message has already.
func reason(err error) string {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		return pe.Err.Error()
	}
	return err.Error()
}
