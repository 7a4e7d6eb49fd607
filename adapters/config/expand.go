package config

// expand.go: ${VAR} and ${VAR:-default} inside the values of files.

import "strings"

// Bounds of what one value may grow to, and of defaults within defaults.
const (
	maxExpanded = 1 << 20
	maxNested   = 16
)

// expand replaces each ${VAR} and ${VAR:-default} in text; "$${" stands for "${". A variable
// that is set but empty takes the default too, where there is one; a default may hold
// further variables, and what a variable holds is taken as it is. The fault, when not empty,
// says what is wrong without repeating any value.
func expand(text string, lookup func(string) (string, bool)) (value, fault string) {
	return expandNested(text, lookup, 0)
}

func expandNested(text string, lookup func(string) (string, bool), depth int) (value, fault string) {
	if depth > maxNested {
		return "", "defaults within defaults go deeper than 16 levels; nest less"
	}
	var out strings.Builder
	for {
		i := strings.Index(text, "${")
		if i < 0 {
			out.WriteString(text)
			return out.String(), ""
		}
		if i > 0 && text[i-1] == '$' {
			out.WriteString(text[:i] + "{")
			text = text[i+2:]
			continue
		}
		out.WriteString(text[:i])
		body, rest, closed := cutBraces(text[i+2:])
		if !closed {
			return "", `a "${" is not closed; write ${VAR}, ${VAR:-default}, or "$${" for the characters themselves`
		}
		part, fault := variable(body, lookup, depth)
		if fault != "" {
			return "", fault
		}
		if out.WriteString(part); out.Len() > maxExpanded {
			return "", "it grows beyond 1 MiB; use shorter variables"
		}
		text = rest
	}
}

// variable resolves what stands between the braces.
func variable(body string, lookup func(string) (string, bool), depth int) (value, fault string) {
	name, fallback, hasDefault := strings.Cut(body, ":-")
	if !isVariable(name) {
		return "", "what stands between the braces of a ${…} is no variable; write ${VAR} or ${VAR:-default}"
	}
	v, set := lookup(name)
	switch {
	case set && (v != "" || !hasDefault):
		return v, ""
	case hasDefault:
		return expandNested(fallback, lookup, depth+1)
	default:
		return "", "the variable " + name + " is not set and has no default; set it, or write ${" + name + ":-default}"
	}
}

// cutBraces cuts at the brace that closes, past nested ones.
func cutBraces(s string) (body, rest string, ok bool) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch {
		case strings.HasPrefix(s[i:], "${"):
			depth++
			i++
		case s[i] == '}' && depth == 0:
			return s[:i], s[i+1:], true
		case s[i] == '}':
			depth--
		}
	}
	return "", "", false
}

func isVariable(name string) bool {
	for i, c := range []byte(name) {
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}
