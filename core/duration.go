package core

// duration.go: durations as users write them: seconds, or "30s".

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration that reads numbers as seconds and strings as Go durations,
// and writes seconds.
type Duration time.Duration

// Std returns the standard library's form.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// MarshalJSON writes seconds, with a fraction only where there is one.
func (d Duration) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(d).Seconds(), 'f', -1, 64), nil
}

// UnmarshalJSON reads 30, 0.5 or "30s".
func (d *Duration) UnmarshalJSON(b []byte) error {
	v, err := durationOf("duration", b)
	if err == nil {
		*d = Duration(v)
	}
	return err
}

// durationOf is UnmarshalJSON for a field that has a name.
func durationOf(field string, raw json.RawMessage) (time.Duration, error) {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		s = string(raw)
	}
	return ParseDuration(field, s)
}

// UnmarshalText reads "30", "0.5" or "30s".
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := ParseDuration("duration", string(b))
	if err == nil {
		*d = Duration(v)
	}
	return err
}

// MarshalText writes what UnmarshalText reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// ParseDuration reads seconds ("30", "0.5") or a Go duration ("30s", "1m30s").
func ParseDuration(field, s string) (time.Duration, error) {
	const rule = `use a number of seconds, or a duration such as "30s" or "1m30s"`
	s = strings.TrimSpace(s)
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		if math.IsNaN(f) || math.Abs(f) > math.MaxInt64/float64(time.Second) {
			return 0, Invalid(field, s, "it is out of range; "+rule)
		}
		return time.Duration(f * float64(time.Second)), nil
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return 0, Invalid(field, s, rule)
	}
	return v, nil
}
