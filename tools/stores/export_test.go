package stores

// export_test.go: what tests need of the inside.

import (
	"crypto/ed25519"
	"net"
)

// PublicNKey is the name by which a user's key is known to NATS.
func PublicNKey(key ed25519.PrivateKey) string { return nkey{userKey, key}.public() }

// FreePort and Release are what clusters and proxies take and give back.
var (
	FreePort = freePort
	Release  = release
)

// Listener is what a proxy listens by.
func (p *Proxy) Listener() net.Listener { return p.listener }
