package stores

// http.go: JSON over HTTP, by which Consul, etcd and NATS tell how they are.

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// call sends body, as JSON unless it is nil, and decodes the answer into out, unless that is nil.
// A token is given as the value of header.
func (c *Cluster) call(ctx context.Context, method, url, header, token string, body, out any) (err error) {
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, content)
	if err != nil {
		return err
	}
	if token != "" {
		req.Header.Set(header, token)
	}
	res, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, url, res.Status, strings.TrimSpace(string(answer)))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s %s: %w in %q", method, url, err, answer)
	}
	return nil
}

// Call asks the first node of Consul (/v1/…) or etcd (its JSON gateway, /v3/…), past its proxy and as
// somebody who may do everything. Body and the answer, for which out may be nil, are JSON.
func (c *Cluster) Call(ctx context.Context, method, path string, body, out any) error {
	url := c.direct(c.nodes[0], path)
	switch c.kind {
	case Consul:
		return c.call(ctx, method, url, consulToken, c.Credentials.Token, body, out)
	case Etcd:
		token, err := etcdServer{}.logIn(ctx, c, c.nodes[0])
		if err != nil {
			return err
		}
		return c.call(ctx, method, url, "Authorization", token, body, out)
	default:
		return fmt.Errorf("%s has no HTTP API: Consul and etcd have", c.kind)
	}
}

// direct is the URL of a node itself, past its proxy.
func (c *Cluster) direct(n *node, path string) string {
	scheme := "http"
	if c.opts.TLS != NoTLS {
		scheme = "https"
	}
	return scheme + "://" + address(n.client) + path
}

func randomUUID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // Never fails.
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
