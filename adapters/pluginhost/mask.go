package pluginhost

// mask.go: keeps values of secret options out of logs and errors, also when the plugin
// itself writes them there.

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/marketprism/prism/core"
)

const (
	masked = "***"
	// minSecret is the shortest value that is masked: masking less would garble every text,
	// and hides nothing.
	minSecret = 4
)

// secretName tells options that are secret whether or not the plugin declares them so, and
// placeName those among them that only say where the secret is.
var (
	secretName = regexp.MustCompile(`(?i)passw|secret|token|credential|private`)
	placeName  = regexp.MustCompile(`(?i)(file|path|dir)$`)
)

// masker replaces secrets. A nil masker replaces nothing.
type masker struct {
	replacer *strings.Replacer
}

// newMasker collects the values of the secret options, and passwords in URLs.
func newMasker(options json.RawMessage, declared []string) *masker {
	var values map[string]any
	decoder := json.NewDecoder(bytes.NewReader(options))
	decoder.UseNumber()
	if decoder.Decode(&values) != nil {
		return nil
	}
	var secrets []string
	add := func(s string) {
		if len(s) >= minSecret {
			secrets = append(secrets, s)
		}
	}
	for name, value := range values {
		eachLeaf(name, value, func(name, leaf string) {
			if slices.Contains(declared, name) || secretName.MatchString(name) && !placeName.MatchString(name) {
				add(leaf)
				for line := range strings.Lines(leaf) { // A key file comes back line by line.
					add(strings.TrimSpace(line))
				}
			}
			add(urlPassword(leaf))
			for part := range strings.SplitSeq(leaf, ",") { // It may be a list, or a comma in a password.
				add(urlPassword(strings.TrimSpace(part)))
			}
		})
	}
	if len(secrets) == 0 {
		return nil
	}
	return compile(secrets)
}

// compile adds the spellings that a secret has inside JSON, URLs and Go's %q.
func compile(secrets []string) *masker {
	var all []string
	for _, s := range secrets {
		all = append(all, s, url.QueryEscape(s), url.PathEscape(s), url.UserPassword("", s).String()[1:])
		if quoted, err := json.Marshal(s); err == nil {
			all = append(all, string(quoted[1:len(quoted)-1]))
		}
	}
	slices.SortFunc(all, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a) // A secret that contains another comes first.
		}
		return strings.Compare(a, b)
	})
	all = slices.Compact(all)
	var pairs []string
	for _, s := range all {
		pairs = append(pairs, s, masked)
	}
	return &masker{replacer: strings.NewReplacer(pairs...)}
}

// urlPassword returns the password in a URL, also in one that is not well formed: that is
// when it is quoted in errors.
func urlPassword(s string) string {
	u, err := url.Parse(s)
	if err == nil {
		password, _ := u.User.Password()
		return password
	}
	_, rest, _ := strings.Cut(s, "://")
	end := strings.LastIndex(rest, "@")
	if end < 0 {
		return ""
	}
	_, password, _ := strings.Cut(rest[:end], ":")
	return password
}

// eachLeaf yields the texts in a JSON value, each with the name of the field that it is under.
func eachLeaf(name string, value any, yield func(name, leaf string)) {
	switch v := value.(type) {
	case string:
		yield(name, v)
	case json.Number:
		yield(name, v.String())
	case []any:
		for _, item := range v {
			eachLeaf(name, item, yield)
		}
	case map[string]any:
		for key, item := range v {
			eachLeaf(key, item, yield)
		}
	}
}

// text returns s without secrets.
func (m *masker) text(s string) string {
	if m == nil {
		return s
	}
	return m.replacer.Replace(s)
}

// error returns err, or the same error with a masked text.
func (m *masker) error(err error) error {
	if m == nil || err == nil {
		return err
	}
	before := err.Error()
	after := m.text(before)
	if after == before {
		return err
	}
	return &maskedError{text: after, err: err, mask: m}
}

// maskedError is an error whose text held a secret. What it wraps is never handed out.
type maskedError struct {
	text string
	err  error
	mask *masker
}

func (e *maskedError) Error() string { return e.text }

// Is keeps the kind of the error.
func (e *maskedError) Is(target error) bool { return errors.Is(e.err, target) }

// As hands out a FieldError, masked, and nothing else.
func (e *maskedError) As(target any) bool {
	into, ok := target.(**core.FieldError)
	if !ok {
		return false
	}
	found, ok := errors.AsType[*core.FieldError](e.err)
	if !ok {
		return false
	}
	*into = &core.FieldError{
		Field: found.Field, Given: e.mask.text(found.Given), Allowed: e.mask.text(found.Allowed), Kind: found.Kind,
	}
	return true
}
