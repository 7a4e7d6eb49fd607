package config

// secret.go: what is never shown.

import (
	"regexp"
	"strings"

	"github.com/marketprism/prism/ports"
)

// masked stands for a secret that is set.
const masked = "***"

var (
	secretWords = regexp.MustCompile(`(?i)(password|passwd|pwd|passphrase|token|secret|credential|private|seed|apikey|(^|[_-])(key|nkey|jwt|auth|pass)$)`)
	urlStart    = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://`)
	urlQuery    = regexp.MustCompile(`(?i)([?&;][^=&;\s,]*(?:password|token|secret|key|auth|pass)[^=&;\s,]*=)[^&;#\s,]*`)
)

// secretName reports whether a value of this name is a secret, for want of a schema. Names
// of files are none.
func secretName(name string) bool {
	lower := strings.ToLower(name)
	if strings.HasSuffix(lower, "_file") || strings.HasSuffix(lower, "_path") || strings.HasSuffix(lower, "_dir") {
		return false
	}
	return secretWords.MatchString(lower)
}

// maskURL hides the user and password of every URL in a text, and secrets in its query.
func maskURL(text string) string {
	starts := urlStart.FindAllStringIndex(text, -1)
	if starts == nil {
		return text
	}
	var out strings.Builder
	out.WriteString(text[:starts[0][0]])
	for i, at := range starts {
		end := len(text)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		rest := text[at[1]:end]
		out.WriteString(text[at[0]:at[1]])
		if user := strings.LastIndexByte(rest, '@'); user >= 0 {
			out.WriteString(masked)
			rest = rest[user:]
		}
		out.WriteString(urlQuery.ReplaceAllString(rest, "${1}"+masked))
	}
	return out.String()
}

// maskGiven is maskURL for what an error repeats, which may be cut in the middle of a URL.
func maskGiven(given string) string {
	given = maskURL(given)
	start := strings.LastIndex(given, "://")
	if cut := strings.LastIndex(given, "…"); start >= 0 && cut > start {
		return given[:start+3] + masked + given[cut:]
	}
	return given
}

// secretOption reports whether a backend's option is a secret: as its schema says, else by
// its name.
func secretOption(name string, schema []ports.Option) bool {
	for _, o := range schema {
		if o.Name == name {
			return o.Secret
		}
	}
	return secretName(name)
}

// mask returns a value as it may be shown. An empty one hides nothing.
func mask(v any, secret bool) any {
	switch x := v.(type) {
	case string:
		if secret && x != "" {
			return masked
		}
		return maskURL(x)
	case []string:
		out := make([]any, len(x))
		for i, item := range x {
			out[i] = mask(item, secret)
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i, item := range x {
			out[i] = mask(item, secret)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(x))
		for key, item := range x {
			out[key] = mask(item, secret || secretName(key))
		}
		return out
	case nil:
		return nil
	default:
		if secret {
			return masked
		}
		return v
	}
}

func lastPart(key string) string {
	return key[strings.LastIndexByte(key, '.')+1:]
}
