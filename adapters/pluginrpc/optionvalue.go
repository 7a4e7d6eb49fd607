package pluginrpc

// optionvalue.go: how the value of one option is read, and which name is nearest to a wrong one.

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// readOption reads a value; rule says what is allowed when it cannot.
func readOption(t ports.OptionType, given any) (value any, rule string) {
	switch t {
	case ports.OptionString:
		if s, ok := given.(string); ok {
			return s, ""
		}
		return nil, "use a string; put it in quotes"
	case ports.OptionInt:
		if n, ok := readInt(given); ok {
			return n, ""
		}
		return nil, "use a whole number"
	case ports.OptionBool:
		if b, ok := readBool(given); ok {
			return b, ""
		}
		return nil, "use true or false"
	case ports.OptionDuration:
		if d, ok := readDuration(given); ok && d >= 0 {
			return formatSeconds(d), ""
		}
		return nil, `use a number of seconds, 0 or more, or a duration such as "30s" or "1m30s"`
	case ports.OptionList:
		if l, ok := readList(given); ok {
			return l, ""
		}
		return nil, "use a list of strings, or one string with commas"
	}
	return nil, fmt.Sprintf("its plugin declares it with the type %q, which this version of Prism does not know", string(t))
}

func readInt(given any) (int64, bool) {
	switch v := given.(type) {
	case int:
		return int64(v), true
	case int64:
		return v, true
	case uint64:
		return int64(v), v <= math.MaxInt64
	case float64:
		return int64(v), v == math.Trunc(v) && math.Abs(v) <= 1<<53
	case json.Number:
		n, err := v.Int64()
		return n, err == nil
	case string:
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		return n, err == nil
	}
	return 0, false
}

func readBool(given any) (value, ok bool) {
	switch v := given.(type) {
	case bool:
		return v, true
	case string:
		b, err := strconv.ParseBool(strings.TrimSpace(v))
		return b, err == nil
	}
	return false, false
}

func readDuration(given any) (time.Duration, bool) {
	switch v := given.(type) {
	case time.Duration:
		return v, true
	case core.Duration:
		return v.Std(), true
	case bool, nil:
		return 0, false
	case string, json.Number, int, int64, uint64, float64:
		d, err := core.ParseDuration(optionsField, fmt.Sprint(v))
		return d, err == nil
	}
	return 0, false
}

// formatSeconds writes seconds with the suffix "s" and every digit, which time.ParseDuration,
// core.Duration and the JSON form of google.protobuf.Duration read.
func formatSeconds(d time.Duration) string {
	s := strconv.FormatInt(int64(d/time.Second), 10)
	if rest := d % time.Second; rest != 0 {
		s += "." + strings.TrimRight(fmt.Sprintf("%09d", rest), "0")
	}
	return s + "s"
}

func readList(given any) ([]string, bool) {
	out := []string{}
	switch v := given.(type) {
	case string:
		for part := range strings.SplitSeq(v, ",") {
			if part = strings.TrimSpace(part); part != "" {
				out = append(out, part)
			}
		}
	case []string:
		out = append(out, v...)
	case []any:
		for _, item := range v {
			s, ok := item.(string)
			if !ok {
				return nil, false
			}
			out = append(out, s)
		}
	default:
		return nil, false
	}
	return out, true
}

// nearest returns the name with the fewest edits to what was written, or "" when none is near:
// more than a third of the letters, or more than three, would have to change.
func nearest(written string, names []string) string {
	best, fewest := "", min(3, 1+len(written)/3)+1
	for _, name := range names {
		if d := edits(strings.ToLower(written), strings.ToLower(name)); d < fewest {
			best, fewest = name, d
		}
	}
	return best
}

// edits is the optimal string alignment distance: insertions, deletions, substitutions and
// swaps of neighbours.
func edits(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
