package pluginhost

// environment.go: what of the host's environment a plugin sees. The host's variables hold
// secrets (tokens, other backends' passwords) that are none of a plugin's business, and a
// PLUGIN_* variable from outside would disturb go-plugin's handshake: none of them is allowed.

import (
	"runtime"
	"slices"
	"strings"

	"github.com/marketprism/prism/core"
)

// passedOn are the variables that every program may need to work at all, in upper case. An
// entry that ends in * is a prefix.
var passedOn = []string{
	"PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ", "LANG", "LC_*",
	"SSL_CERT_FILE", "SSL_CERT_DIR",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
	"GODEBUG", "GOTRACEBACK", "GOMAXPROCS", "GOGC", "GOCOVERDIR",
}

// passedOnWindows are those without which Windows programs cannot open a socket or find
// their folders.
var passedOnWindows = []string{
	"SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "TEMP", "TMP",
	"USERPROFILE", "APPDATA", "LOCALAPPDATA", "PROGRAMDATA",
}

// environment returns the plugin's environment: the allowed part of host, then extra, whose
// entries are "NAME" (copied from host, if set) or "NAME=value".
func environment(host, extra []string) ([]string, error) {
	allowed := passedOn
	if runtime.GOOS == "windows" {
		allowed = append(append([]string(nil), passedOn...), passedOnWindows...)
	}
	var set []string
	for _, e := range extra {
		name, _, hasValue := strings.Cut(e, "=")
		switch {
		case name == "":
			return nil, core.Invalid("plugin.env", "a variable without a name", "write NAME or NAME=value")
		case strings.HasPrefix(strings.ToUpper(name), "PLUGIN_"):
			return nil, core.Invalid("plugin.env", name, "PLUGIN_* belongs to the handshake with the plugin; choose another name")
		case hasValue:
			set = append(set, e)
		default:
			allowed = append(slices.Clip(allowed), strings.ToUpper(name))
		}
	}
	var out []string
	for _, e := range host {
		name, _, _ := strings.Cut(e, "=")
		if isAllowed(allowed, strings.ToUpper(name)) {
			out = append(out, e)
		}
	}
	return append(out, set...), nil
}

func isAllowed(allowed []string, name string) bool {
	for _, a := range allowed {
		if prefix, ok := strings.CutSuffix(a, "*"); (ok && strings.HasPrefix(name, prefix)) || name == a {
			return true
		}
	}
	return false
}
