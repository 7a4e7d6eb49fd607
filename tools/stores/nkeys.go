package stores

// nkeys.go: NATS' keys and JWTs, written by hand so that tests bring no library for them: Ed25519
// keys in base32 with a prefix and a checksum, and JWTs that they sign.

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// What a key is for, as its first letter: N, O, A, U; and S before that of a seed.
const (
	operatorKey = byte(14 << 3)
	accountKey  = byte(0)
	userKey     = byte(20 << 3)
	seedKey     = byte(18 << 3)
)

// An nkey is a pair of keys with a role.
type nkey struct {
	role    byte
	private ed25519.PrivateKey
}

func newNKey(role byte) (nkey, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	return nkey{role, private}, err
}

// public is the key as NATS writes it.
func (k nkey) public() string {
	return checked(append([]byte{k.role}, k.private[ed25519.SeedSize:]...))
}

// seed is the secret as NATS writes it. Its role fills the three bits that the seed's own mark
// leaves over, and five of the next byte.
func (k nkey) seed() string {
	return checked(append([]byte{seedKey | k.role>>5, k.role << 3}, k.private.Seed()...))
}

// checked appends a CRC-16 (XMODEM) and encodes.
func checked(raw []byte) string {
	var crc uint16
	for _, b := range raw {
		crc ^= uint16(b) << 8
		for range 8 {
			top := crc >> 15
			crc <<= 1
			crc ^= top * 0x1021
		}
	}
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(binary.LittleEndian.AppendUint16(raw, crc))
}

// sign issues a JWT about a subject.
func (k nkey) sign(subject, name string, claims map[string]any) (string, error) {
	claims["version"] = 2
	header, err := json.Marshal(map[string]string{"typ": "JWT", "alg": "ed25519-nkey"})
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(map[string]any{
		"jti": rand.Text(), "iat": time.Now().Unix(), "iss": k.public(), "sub": subject, "name": name, "nats": claims,
	})
	if err != nil {
		return "", err
	}
	signed := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(body)
	return signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(k.private, []byte(signed))), nil
}

// issueNATS writes the file that a client shows and keeps what the servers have to know.
func (c *Cluster) issueNATS() error {
	user, err := newNKey(userKey)
	if err != nil {
		return err
	}
	if c.opts.Auth == NKey {
		c.secrets.UserKey = user.public()
		c.Credentials.SeedFile = filepath.Join(c.dir, "user.nk")
		return os.WriteFile(c.Credentials.SeedFile, []byte(user.seed()+"\n"), 0o600)
	}
	operator, err := newNKey(operatorKey)
	if err != nil {
		return err
	}
	account, err := newNKey(accountKey)
	if err != nil {
		return err
	}
	system, err := newNKey(accountKey)
	if err != nil {
		return err
	}
	type object = map[string]any
	unlimited := func(disk int) object {
		return object{
			"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
			"mem_storage": disk, "disk_storage": disk, "streams": disk, "consumer": disk,
		}
	}
	jwt := ""
	for _, issue := range []struct {
		jwt    *string
		by     nkey
		about  nkey
		name   string
		claims object
	}{
		{&c.secrets.Operator, operator, operator, "operator", object{"type": "operator", "system_account": system.public()}},
		{&c.secrets.Account, operator, account, "prism", object{"type": "account", "limits": unlimited(-1)}},
		{&c.secrets.System, operator, system, "system", object{"type": "account", "limits": unlimited(0)}},
		{&jwt, account, user, "prism", object{"type": "user", "subs": -1, "data": -1, "payload": -1}},
	} {
		if *issue.jwt, err = issue.by.sign(issue.about.public(), issue.name, issue.claims); err != nil {
			return err
		}
	}
	c.secrets.AccountKey, c.secrets.SystemKey = account.public(), system.public()
	c.Credentials.CredsFile = filepath.Join(c.dir, "user.creds")
	return os.WriteFile(c.Credentials.CredsFile, fmt.Appendf(nil,
		"-----BEGIN NATS USER JWT-----\n%s\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n%s\n------END USER NKEY SEED------\n",
		jwt, user.seed()), 0o600)
}
