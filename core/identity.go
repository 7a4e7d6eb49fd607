package core

// identity.go: the numbers that order things: generations (who owns a record), revisions
// (which write came later) and leases (who may act for an instance).

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Generation says which registration owns a record: n is one above the highest that the
// registering process has seen for the key, the random part tells two that chose the same n
// apart. The zero value means "none".
type Generation struct {
	N      uint64
	Random string
}

// Next returns a fresh generation above g.
func (g Generation) Next() Generation { return Generation{N: g.N + 1, Random: rand.Text()} }

// IsZero reports whether there is none.
func (g Generation) IsZero() bool { return g == Generation{} }

// Compare orders generations by n, then by the random part.
func (g Generation) Compare(o Generation) int {
	switch {
	case g.N < o.N:
		return -1
	case g.N > o.N:
		return 1
	default:
		return strings.Compare(g.Random, o.Random)
	}
}

// String returns "n-random", or "" for none.
func (g Generation) String() string {
	if g.IsZero() {
		return ""
	}
	return strconv.FormatUint(g.N, 10) + "-" + g.Random
}

// ParseGeneration reads what String writes.
func ParseGeneration(s string) (Generation, error) {
	if s == "" {
		return Generation{}, nil
	}
	n, random, ok := strings.Cut(s, "-")
	v, err := strconv.ParseUint(n, 10, 64)
	if !ok || err != nil || random == "" {
		return Generation{}, Invalid("generation", s, "it is not one that Prism wrote")
	}
	return Generation{N: v, Random: random}, nil
}

// Revision orders the writes of one store; it only compares within one epoch. A new epoch
// means that the store lost or replaced its data. The zero value means "none".
type Revision struct {
	Epoch string
	N     uint64
}

// IsZero reports whether there is none.
func (r Revision) IsZero() bool { return r == Revision{} }

// After reports whether r is a later write than o, or of another epoch.
func (r Revision) After(o Revision) bool { return r.Epoch != o.Epoch || r.N > o.N }

// String returns "epoch.n", or "" for none. Epochs hold no dot after which digits alone follow.
func (r Revision) String() string {
	if r.IsZero() {
		return ""
	}
	return r.Epoch + "." + strconv.FormatUint(r.N, 10)
}

// ParseRevision reads what String writes.
func ParseRevision(s string) (Revision, error) {
	if s == "" {
		return Revision{}, nil
	}
	i := strings.LastIndexByte(s, '.')
	if i > 0 {
		if n, err := strconv.ParseUint(s[i+1:], 10, 64); err == nil {
			return Revision{Epoch: s[:i], N: n}, nil
		}
	}
	return Revision{}, Invalid("revision", s, "use the revision of an instance as it was shown")
}

// Lease proves that its holder registered an instance. It is opaque to clients; the store
// keeps only the hash of its secret.
type Lease struct {
	Key        Key
	Generation Generation
	secret     [16]byte
}

const leasePrefix = "prism1."

// NewLease makes a lease with a fresh 128-bit secret.
func NewLease(key Key, gen Generation) Lease {
	l := Lease{Key: key, Generation: gen}
	rand.Read(l.secret[:]) // never fails
	return l
}

// Hash is what the store keeps: SHA-256 of the secret, in hexadecimal.
func (l Lease) Hash() string {
	sum := sha256.Sum256(l.secret[:])
	return hex.EncodeToString(sum[:])
}

// Matches compares in constant time with a stored hash.
func (l Lease) Matches(hash string) bool {
	return subtle.ConstantTimeCompare([]byte(l.Hash()), []byte(hash)) == 1
}

// Token is the opaque form that clients hold. It is a secret.
func (l Lease) Token() string {
	plain := strings.Join([]string{l.Key.Service, l.Key.ID, l.Generation.String(), hex.EncodeToString(l.secret[:])}, "/")
	return leasePrefix + base64.RawURLEncoding.EncodeToString([]byte(plain))
}

// String hides the secret, so that a lease that reaches a log gives nothing away.
func (l Lease) String() string { return "lease of " + l.Key.String() + " " + l.Generation.String() }

// ParseLease reads a token. The error never repeats it.
func ParseLease(token string) (Lease, error) {
	bad := &FieldError{Field: "lease", Allowed: "it is not one that Prism gave; use lease.id of the registration's answer"}
	body, ok := strings.CutPrefix(token, leasePrefix)
	if !ok || len(token) > 1024 {
		return Lease{}, bad
	}
	plain, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		return Lease{}, bad
	}
	parts := strings.Split(string(plain), "/")
	if len(parts) != 4 {
		return Lease{}, bad
	}
	gen, err := ParseGeneration(parts[2])
	if err != nil || gen.IsZero() {
		return Lease{}, bad
	}
	l := Lease{Key: Key{Service: parts[0], ID: parts[1]}, Generation: gen}
	secret, err := hex.DecodeString(parts[3])
	if err != nil || len(secret) != len(l.secret) || l.Key.Validate() != nil {
		return Lease{}, bad
	}
	copy(l.secret[:], secret)
	return l, nil
}

// HeartbeatState is the answer to one heartbeat.
type HeartbeatState string

// The answers to a heartbeat, and what the client does.
const (
	HeartbeatRenewed      HeartbeatState = "renewed"
	HeartbeatExpired      HeartbeatState = "expired"      // register again
	HeartbeatSuperseded   HeartbeatState = "superseded"   // stop: a newer registration owns the record
	HeartbeatDeregistered HeartbeatState = "deregistered" // stop: somebody removed it
	HeartbeatUnavailable  HeartbeatState = "unavailable"  // keep calm, try again
	HeartbeatUnknown      HeartbeatState = "unknown"      // register again
)

// Err translates an answer into the error kinds; nil for renewed.
func (h HeartbeatState) Err() error {
	switch h {
	case HeartbeatRenewed:
		return nil
	case HeartbeatSuperseded:
		return ErrSuperseded
	case HeartbeatDeregistered:
		return ErrDeregistered
	case HeartbeatUnavailable:
		return ErrUnavailable
	case HeartbeatExpired, HeartbeatUnknown:
		return ErrLeaseExpired
	}
	return fmt.Errorf("%w: heartbeat state %q", ErrUnsupported, string(h))
}
