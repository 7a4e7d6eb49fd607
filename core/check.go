package core

// check.go: how an instance's health is checked.

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// CheckType names a kind of probe.
type CheckType string

// The kinds of probe.
const (
	CheckHTTP CheckType = "http" // GET of health_check_url, http or https
	CheckTCP  CheckType = "tcp"  // a connection to the instance's address
	CheckGRPC CheckType = "grpc" // grpc.health.v1.Health/Check
	CheckExec CheckType = "exec" // a command on the host; must be allowed by its configuration
	CheckNone CheckType = "none" // a live lease is healthy
)

// Check says how an instance is probed. Zero fields get defaults from the host.
type Check struct {
	Type     CheckType
	Path     string        // replaces the path of the health_check_url
	Command  []string      // exec only: program and arguments, no shell
	Interval time.Duration // ≥ 1 s; default health_check_interval
	Timeout  time.Duration // ≤ interval; default the smaller of interval and 10 s
	Rise     int           // passes in a row from unhealthy to healthy; default 2
	Fall     int           // failures in a row from healthy to unhealthy; default 3
	// ExpectStatus is the set of HTTP statuses that pass, "200-299,404"; default 2xx.
	ExpectStatus string
	// ExpectBody must occur in the first 64 KiB of the answer.
	ExpectBody string
	// DeregisterAfter removes an instance that was unhealthy this long; 0 keeps it. Default: the
	// ttl for keepalive "client", off for "auto".
	DeregisterAfter time.Duration
	// Implicit is true when nobody asked for this check: the default HTTP check then counts
	// 404 and 405 as alive, as nobody promised that path.
	Implicit bool

	deregisterSet bool
}

type checkJSON struct {
	Type            CheckType       `json:"type,omitempty"`
	Path            string          `json:"path,omitempty"`
	Command         []string        `json:"command,omitempty"`
	Interval        json.RawMessage `json:"interval,omitempty"`
	Timeout         json.RawMessage `json:"timeout,omitempty"`
	Rise            *int            `json:"rise,omitempty"`
	Fall            *int            `json:"fall,omitempty"`
	ExpectStatus    json.RawMessage `json:"expect_status,omitempty"`
	ExpectBody      string          `json:"expect_body,omitempty"`
	DeregisterAfter json.RawMessage `json:"deregister_after,omitempty"`
	Implicit        bool            `json:"implicit,omitempty"`
}

// MarshalJSON writes the public form; durations are seconds.
func (c Check) MarshalJSON() ([]byte, error) {
	j := checkJSON{
		Type: c.Type, Path: c.Path, Command: c.Command, ExpectBody: c.ExpectBody, Implicit: c.Implicit,
		Interval: optional(c.Interval), Timeout: optional(c.Timeout),
	}
	if c.Rise != 0 {
		j.Rise = &c.Rise
	}
	if c.Fall != 0 {
		j.Fall = &c.Fall
	}
	if c.ExpectStatus != "" {
		j.ExpectStatus, _ = json.Marshal(c.ExpectStatus) // a string always marshals
	}
	if c.DeregisterAfter != 0 || c.deregisterSet {
		j.DeregisterAfter = secondsOf(c.DeregisterAfter)
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads the public form and refuses unknown fields.
func (c *Check) UnmarshalJSON(b []byte) error {
	var j checkJSON
	if err := DecodeStrict("check", b, &j); err != nil {
		return err
	}
	return c.take(j)
}

// describedCheck is a Check that a host shows or stores. Another version may have written it, so
// it is read with fields that this one does not know, as all of a description is.
type describedCheck struct{ Check }

// UnmarshalJSON reads the public form.
func (c *describedCheck) UnmarshalJSON(b []byte) error {
	var j checkJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	return c.take(j)
}

func (c *Check) take(j checkJSON) error {
	*c = Check{Type: j.Type, Path: j.Path, Command: j.Command, ExpectBody: j.ExpectBody, Implicit: j.Implicit}
	for _, d := range []struct {
		field string
		from  json.RawMessage
		to    *time.Duration
	}{
		{"check.interval", j.Interval, &c.Interval},
		{"check.timeout", j.Timeout, &c.Timeout},
		{"check.deregister_after", j.DeregisterAfter, &c.DeregisterAfter},
	} {
		if !present(d.from) {
			continue
		}
		var err error
		if *d.to, err = durationOf(d.field, d.from); err != nil {
			return err
		}
		if *d.to <= 0 && d.field != "check.deregister_after" {
			return Invalid(d.field, d.to.String(), "use more than 0 seconds, or leave it out")
		}
	}
	c.deregisterSet = present(j.DeregisterAfter)
	for _, n := range []struct {
		field string
		from  *int
		to    *int
	}{{"check.rise", j.Rise, &c.Rise}, {"check.fall", j.Fall, &c.Fall}} {
		if n.from == nil {
			continue
		}
		*n.to = *n.from
		if *n.to < 1 {
			return Invalid(n.field, *n.to, "use 1–100")
		}
	}
	c.ExpectStatus = readStatusSet(j.ExpectStatus)
	return nil
}

// readStatusSet accepts 200, "200-299,404" and [200, "300-399"].
func readStatusSet(raw json.RawMessage) string {
	if len(raw) == 0 || string(raw) == "null" {
		return ""
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		list = []json.RawMessage{raw}
	}
	parts := make([]string, 0, len(list))
	for _, item := range list {
		var s string
		if json.Unmarshal(item, &s) != nil {
			s = string(item)
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, ",")
}

// PassesStatus reports whether an HTTP status counts as a pass.
func (c Check) PassesStatus(code int) bool {
	if c.ExpectStatus == "" {
		return code >= 200 && code <= 299 || c.Implicit && (code == 404 || code == 405)
	}
	ranges, err := parseStatusSet(c.ExpectStatus)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(ranges, func(r [2]int) bool { return code >= r[0] && code <= r[1] })
}

func parseStatusSet(s string) ([][2]int, error) {
	var out [][2]int
	for part := range strings.SplitSeq(s, ",") {
		lo, hi, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			hi = lo
		}
		a, errA := strconv.Atoi(lo)
		b, errB := strconv.Atoi(hi)
		if errA != nil || errB != nil || a < 100 || b > 599 || a > b {
			return nil, Invalid("check.expect_status", s, `use statuses from 100 to 599, as 200, "200-299" or ["200-299", 404]`)
		}
		out = append(out, [2]int{a, b})
	}
	return out, nil
}

// resolve fills in defaults and validates; scheme and keepalive choose some of them.
func (c Check) resolve(d Defaults, scheme string, keepalive Keepalive, ttl time.Duration) (Check, error) {
	if c.Type == "" {
		switch strings.ToLower(scheme) {
		case "http", "https":
			c.Type = CheckHTTP
		case "grpc", "grpcs":
			c.Type = CheckGRPC
		default:
			c.Type = CheckTCP
		}
	}
	switch c.Type {
	case CheckHTTP, CheckTCP, CheckGRPC, CheckNone:
		if len(c.Command) > 0 {
			return c, Invalid("check.command", strings.Join(c.Command, " "), `only a check of type "exec" has one`)
		}
	case CheckExec:
		if !d.AllowExec {
			return c, Invalid("check.type", "exec", "this host does not allow exec checks; use http, tcp, grpc or none")
		}
		if len(c.Command) == 0 {
			return c, &FieldError{Field: "check.command", Allowed: `it is empty; a check of type "exec" needs a program and its arguments`}
		}
	default:
		return c, Invalid("check.type", string(c.Type), "use http, tcp, grpc, exec or none")
	}
	if c.Interval == 0 {
		c.Interval = d.CheckInterval
	}
	if c.Timeout == 0 {
		c.Timeout = min(c.Interval, d.CheckTimeout)
	}
	if c.Rise == 0 {
		c.Rise = 2
	}
	if c.Fall == 0 {
		c.Fall = 3
	}
	if c.DeregisterAfter == 0 && !c.deregisterSet && keepalive == KeepaliveClient && c.Type != CheckNone {
		c.DeregisterAfter = ttl
	}
	return c, c.validate()
}

func (c Check) validate() error {
	switch {
	case c.Interval < time.Second || c.Interval > 24*time.Hour:
		return Invalid("check.interval", c.Interval, "use 1 s to 86,400 s")
	case c.Timeout < 10*time.Millisecond || c.Timeout > c.Interval:
		return Invalid("check.timeout", c.Timeout, fmt.Sprintf("use 10 ms to the interval of %s", c.Interval))
	case c.Rise < 1 || c.Rise > 100:
		return Invalid("check.rise", c.Rise, "use 1–100")
	case c.Fall < 1 || c.Fall > 100:
		return Invalid("check.fall", c.Fall, "use 1–100")
	case c.DeregisterAfter < 0 || c.DeregisterAfter > 7*24*time.Hour:
		return Invalid("check.deregister_after", c.DeregisterAfter, "use 0 (off) to 604,800 s")
	case c.Path != "" && !strings.HasPrefix(c.Path, "/"):
		return Invalid("check.path", c.Path, `it begins with "/"`)
	case len(c.ExpectBody) > 1024:
		return TooLarge("check.expect_body", fmt.Sprintf("%d bytes", len(c.ExpectBody)), "use at most 1,024 bytes")
	}
	if c.ExpectStatus != "" {
		if _, err := parseStatusSet(c.ExpectStatus); err != nil {
			return err
		}
	}
	return nil
}

// optional is the JSON form of a duration; 0 is left out.
func optional(d time.Duration) json.RawMessage {
	if d == 0 {
		return nil
	}
	return secondsOf(d)
}

func secondsOf(d time.Duration) json.RawMessage {
	raw, _ := Duration(d).MarshalJSON() // never fails
	return raw
}
