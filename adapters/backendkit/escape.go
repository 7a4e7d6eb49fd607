package backendkit

// escape.go: names in stores that allow fewer characters than names may have.

import (
	"fmt"
	"strings"
)

// Escape writes a name, of core.ValidateName's characters, with none of those in not: each of
// them becomes "=" and two hexadecimal digits. "=" itself is no character of a name, so
// different names never meet, and a name without those characters stays readable.
func Escape(name, not string) string {
	if !strings.ContainsAny(name, not) {
		return name
	}
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; strings.IndexByte(not, c) >= 0 {
			fmt.Fprintf(&b, "=%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Unescape reads what Escape wrote; false for anything else.
func Unescape(escaped string) (string, bool) {
	if !strings.Contains(escaped, "=") {
		return escaped, true
	}
	var b strings.Builder
	for i := 0; i < len(escaped); i++ {
		if escaped[i] != '=' {
			b.WriteByte(escaped[i])
			continue
		}
		var c byte
		if len(escaped) < i+3 {
			return "", false
		}
		if n, err := fmt.Sscanf(escaped[i+1:i+3], "%02X", &c); n != 1 || err != nil || fmt.Sprintf("%02X", c) != escaped[i+1:i+3] {
			return "", false
		}
		b.WriteByte(c)
		i += 2
	}
	return b.String(), true
}
