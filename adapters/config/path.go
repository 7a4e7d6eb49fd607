package config

// path.go: the paths that people write, with dots, and those that koanf sees.

import (
	"slices"
	"strconv"
	"strings"
)

// delimiter joins the parts of a path for koanf. No key can hold it: control characters in
// keys are refused.
const delimiter = "\x1f"

func internalPath(parts []string) string { return strings.Join(parts, delimiter) }

// join returns path with one more part, and leaves path as it is.
func join(path []string, part string) []string {
	return append(slices.Clip(path), part)
}

// formatPath writes a path with dots; a part that holds a dot itself is quoted.
func formatPath(parts []string) string {
	out := make([]string, len(parts))
	for i, p := range parts {
		out[i] = p
		if p == "" || strings.ContainsAny(p, ".\"'= ") {
			out[i] = strconv.Quote(p)
		}
	}
	return strings.Join(out, ".")
}

// parsePath reads what formatPath writes; single quotes serve as well. The bool is false
// when a quote is not closed, or a part is empty or holds a control character.
func parsePath(s string) ([]string, bool) {
	var parts []string
	for {
		var part string
		if s != "" && (s[0] == '"' || s[0] == '\'') {
			end := strings.IndexByte(s[1:], s[0])
			if end < 0 {
				return nil, false
			}
			part, s = s[1:1+end], s[2+end:]
			if s != "" && s[0] != '.' {
				return nil, false
			}
		} else if end := strings.IndexByte(s, '.'); end >= 0 {
			part, s = s[:end], s[end:]
		} else {
			part, s = s, ""
		}
		if part == "" || hasControl(part) {
			return nil, false
		}
		parts = append(parts, part)
		if s == "" {
			return parts, true
		}
		s = s[1:]
	}
}

// splitSetting cuts "key=value" at the first "=" outside quotes.
func splitSetting(s string) (key, value string, ok bool) {
	var quote byte
	for i := range len(s) {
		switch c := s[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '=':
			return strings.TrimSpace(s[:i]), s[i+1:], true
		}
	}
	return "", "", false
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}
