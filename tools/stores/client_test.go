package stores_test

// client_test.go: the least client of each store, which shows what a Cluster says clients need.

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/tools/stores"
)

// A client connects anew for each call, to one node.
type client struct {
	kind  stores.Kind
	c     *stores.Cluster
	at    int // The index of the node.
	tls   *tls.Config
	creds stores.Credentials
}

// newClient returns a client that shows all that the cluster tells it to.
func newClient(t *testing.T, c *stores.Cluster) *client {
	t.Helper()
	out := &client{kind: c.Kind(), c: c, creds: c.Credentials}
	if c.Certificates.CA != "" {
		out.tls = tlsConfig(t, c.Certificates.CA, c.Certificates.Cert, c.Certificates.Key)
	}
	return out
}

// tlsConfig trusts an authority and shows a certificate, unless that is "".
func tlsConfig(t *testing.T, ca, cert, key string) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(ca)
	require.NoError(t, err)
	config := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
	require.True(t, config.RootCAs.AppendCertsFromPEM(pem))
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		require.NoError(t, err)
		config.Certificates = []tls.Certificate{pair}
	}
	return config
}

func (c *client) put(ctx context.Context, key, value string) error {
	switch c.kind {
	case stores.Consul:
		_, err := c.http(ctx, http.MethodPut, "/v1/kv/"+key, []byte(value))
		return err
	case stores.Etcd:
		_, err := c.etcd(ctx, "put", map[string]string{"key": b64(key), "value": b64(value)})
		return err
	case stores.NATS:
		// A message per subject is a key with a value.
		request := map[string]any{"name": "T", "subjects": []string{"t.*"}, "max_msgs_per_subject": 1, "num_replicas": c.c.Nodes()}
		if _, err := c.nats(ctx, "$JS.API.STREAM.CREATE.T", asJSON(request)); err != nil {
			return err
		}
		_, err := c.nats(ctx, "t."+key, value)
		return err
	default:
		_, err := c.redis(ctx, "SET", key, value)
		return err
	}
}

// get returns "" for a key that is not there.
func (c *client) get(ctx context.Context, key string) (string, error) {
	switch c.kind {
	case stores.Consul:
		value, err := c.http(ctx, http.MethodGet, "/v1/kv/"+key+"?raw", nil)
		if err != nil && strings.Contains(err.Error(), "404") {
			return "", nil
		}
		return string(value), err
	case stores.Etcd:
		answer, err := c.etcd(ctx, "range", map[string]string{"key": b64(key)})
		var found struct {
			Kvs []struct{ Value []byte }
		}
		if err := errors.Join(err, json.Unmarshal(answer, &found)); err != nil || len(found.Kvs) == 0 {
			return "", err
		}
		return string(found.Kvs[0].Value), nil
	case stores.NATS:
		answer, err := c.nats(ctx, "$JS.API.STREAM.MSG.GET.T", `{"last_by_subj":"t.`+key+`"}`)
		if err != nil && strings.Contains(err.Error(), "not found") {
			return "", nil
		}
		var found struct {
			Message struct{ Data []byte }
		}
		if err == nil {
			err = json.Unmarshal([]byte(answer), &found)
		}
		return string(found.Message.Data), err
	default:
		return c.redis(ctx, "GET", key)
	}
}

func (c *client) http(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.c.URLs()[c.at]+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	switch {
	case c.creds.Token != "" && c.kind == stores.Consul:
		req.Header.Set("X-Consul-Token", c.creds.Token)
	case c.creds.Token != "":
		req.Header.Set("Authorization", c.creds.Token)
	}
	res, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: c.tls, DisableKeepAlives: true}}).Do(req)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = errors.Join(err, os.ErrDeadlineExceeded)
		}
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, answer)
	}
	return answer, err
}

func (c *client) etcd(ctx context.Context, path string, body map[string]string) ([]byte, error) {
	if c.creds.User != "" {
		plain := *c
		plain.creds = stores.Credentials{}
		login := asJSON(map[string]string{"name": c.creds.User, "password": c.creds.Password})
		answer, err := plain.http(ctx, http.MethodPost, "/v3/auth/authenticate", []byte(login))
		if err != nil {
			return nil, err
		}
		var session struct{ Token string }
		if err := json.Unmarshal(answer, &session); err != nil {
			return nil, err
		}
		plain.creds.Token = session.Token
		c = &plain
	}
	return c.http(ctx, http.MethodPost, "/v3/kv/"+path, []byte(asJSON(body)))
}

func (c *client) dial(ctx context.Context) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", c.c.Addresses()[c.at])
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		err = conn.SetDeadline(deadline)
	}
	return conn, err
}

func (c *client) redis(ctx context.Context, words ...string) (string, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if c.tls != nil {
		conn = tls.Client(conn, c.tls)
	}
	r := bufio.NewReader(conn)
	switch {
	case c.creds.User != "":
		words = append([]string{"AUTH", c.creds.User, c.creds.Password, "\n"}, words...)
	case c.creds.Password != "":
		words = append([]string{"AUTH", c.creds.Password, "\n"}, words...)
	}
	var answer string
	for command := range strings.SplitSeq(strings.Join(words, " "), " \n ") {
		if _, err := fmt.Fprintf(conn, "%s\r\n", command); err != nil {
			return "", err
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		answer = strings.TrimRight(line, "\r\n")
		if answer[0] == '-' {
			return "", errors.New(answer)
		}
	}
	if answer == "$-1" || answer[0] != '$' {
		return "", nil
	}
	value, err := r.ReadString('\n')
	return strings.TrimRight(value, "\r\n"), err
}

// nats sends a request and returns the answer.
func (c *client) nats(ctx context.Context, subject, body string) (string, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	info, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	if c.tls != nil {
		conn = tls.Client(conn, c.tls)
		r = bufio.NewReader(conn)
	}
	hello, err := c.hello(info)
	if err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(conn, "CONNECT %s\r\nSUB answer 1\r\nPUB %s answer %d\r\n%s\r\n", hello, subject, len(body), body); err != nil {
		return "", err
	}
	for {
		line, err := r.ReadString('\n')
		line = strings.TrimRight(line, "\r\n")
		switch {
		case err != nil:
			return "", err
		case strings.HasPrefix(line, "-ERR"):
			return "", errors.New(line)
		case strings.HasPrefix(line, "HMSG"):
			return "", errors.New("nobody answers: " + line)
		case strings.HasPrefix(line, "MSG"):
			size, err := strconv.Atoi(line[strings.LastIndexByte(line, ' ')+1:])
			if err != nil {
				return "", err
			}
			content := make([]byte, size)
			_, err = io.ReadFull(r, content)
			if err == nil && bytes.Contains(content, []byte(`"error"`)) {
				err = errors.New(string(content))
			}
			return string(content), err
		}
	}
}

// hello is what a client connects with; it signs the server's nonce where it has a key.
func (c *client) hello(info string) (string, error) {
	var server struct{ Nonce string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(info, "INFO ")), &server); err != nil {
		return "", fmt.Errorf("%w in %q", err, info)
	}
	hello := map[string]any{"verbose": false, "pedantic": false, "headers": true, "no_responders": true}
	if c.creds.Token != "" {
		hello["auth_token"] = c.creds.Token
	}
	if c.creds.User != "" {
		hello["user"], hello["pass"] = c.creds.User, c.creds.Password
	}
	if file := c.creds.SeedFile + c.creds.CredsFile; file != "" {
		content, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		var seed string
		for line := range strings.Lines(string(content)) {
			switch line = strings.TrimSpace(line); {
			case strings.HasPrefix(line, "SU"):
				seed = line
			case strings.HasPrefix(line, "eyJ"):
				hello["jwt"] = line
			}
		}
		raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(seed)
		if err != nil {
			return "", err
		}
		key := ed25519.NewKeyFromSeed(raw[2 : 2+ed25519.SeedSize])
		hello["sig"] = base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(server.Nonce)))
		if hello["jwt"] == nil {
			hello["nkey"] = stores.PublicNKey(key)
		}
	}
	return asJSON(hello), nil
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func asJSON(v any) string {
	out, err := json.Marshal(v)
	if err != nil {
		panic(err) // A map of strings and numbers.
	}
	return string(out)
}
