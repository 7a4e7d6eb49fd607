package probe_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/marketprism/prism/adapters/probe"
	"github.com/marketprism/prism/core"
)

func TestForbiddenAddresses(t *testing.T) {
	for address, kind := range map[string]string{
		"169.254.169.254":          "a link-local",
		"169.254.0.1":              "a link-local",
		"fe80::1":                  "a link-local",
		"fe80::1%eth0":             "a link-local",
		"::ffff:169.254.169.254":   "a link-local",
		"64:ff9b::169.254.169.254": "a link-local",
		"fd00:ec2::254":            "a metadata",
		"fd20:ce::254":             "a metadata",
		"100.100.100.200":          "a metadata",
		"192.0.0.192":              "a metadata",
		"168.63.129.16":            "a metadata",
		"224.0.0.1":                "a multicast",
		"ff02::1":                  "a multicast",
		"0.0.0.0":                  "an unspecified",
		"::":                       "an unspecified",
		"::ffff:0.0.0.0":           "an unspecified",
		"255.255.255.255":          "a broadcast",
		"127.0.0.1":                "",
		"::1":                      "",
		"10.0.0.1":                 "",
		"192.168.1.1":              "",
		"8.8.8.8":                  "",
		"2001:db8::1":              "",
		"fd00::1":                  "",
		"64:ff9b::10.0.0.1":        "",
	} {
		assert.Equal(t, kind, probe.Forbidden(netip.MustParseAddr(address)), address)
	}
}

func TestForbiddenAddressesAreNotProbed(t *testing.T) {
	for _, typ := range []core.CheckType{core.CheckHTTP, core.CheckTCP, core.CheckGRPC} {
		for _, host := range []string{"169.254.169.254", "[fd00:ec2::254]", "[::ffff:169.254.169.254]"} {
			r := check(t, instance(t, "http", host+":80", core.Check{Type: typ}))
			assert.False(t, r.Healthy)
			assert.Contains(t, r.Detail, "address, which is never probed", "%s to %s", typ, host)
		}
	}
}

// TestNamesAreJudgedByWhatTheyResolveTo shows that a name is no way around: what counts is the
// address that is connected to.
func TestNamesAreJudgedByWhatTheyResolveTo(t *testing.T) {
	p := newProber(t, probe.Options{})
	p.Resolve(resolver(t, [4]byte{169, 254, 169, 254}))
	for _, typ := range []core.CheckType{core.CheckHTTP, core.CheckTCP, core.CheckGRPC} {
		r, err := p.Probe(t.Context(), instance(t, "http", "innocent.example:80", core.Check{Type: typ}))
		require.NoError(t, err)
		assert.False(t, r.Healthy)
		assert.Contains(t, r.Detail, "169.254.169.254 is a link-local address, which is never probed", typ)
	}
}

// resolver resolves every name to one address.
func resolver(t *testing.T, address [4]byte) *net.Resolver {
	t.Helper()
	name := listen(t, "127.0.0.1:0", func(conn net.Conn) {
		_ = answer(conn, address) // the client's error says more
		_ = conn.Close()
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", name)
	}}
}

// answer answers one query as a name server does over TCP (RFC 1035, section 4.2.2).
func answer(conn net.Conn, address [4]byte) error {
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return err
	}
	query := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, query); err != nil {
		return err
	}
	var msg dnsmessage.Message
	if err := msg.Unpack(query); err != nil {
		return err
	}
	msg.Response, msg.Additionals = true, nil
	if q := msg.Questions[0]; q.Type == dnsmessage.TypeA {
		msg.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
			Body:   &dnsmessage.AResource{A: address},
		}}
	}
	packed, err := msg.Pack()
	if err != nil {
		return err
	}
	_, err = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packed))), packed...))
	return err
}
