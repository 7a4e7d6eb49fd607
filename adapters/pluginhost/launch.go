package pluginhost

// launch.go: what a caller says about the plugin that it wants to run.

import (
	"encoding/json"
	"log/slog"
	"regexp"
	"time"

	"google.golang.org/grpc"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// Launch describes one plugin to run. The zero value of a duration means its default.
type Launch struct {
	// Path is the binary, as Find returns it.
	Path string
	// Name is the backend that the binary must say it is ("etcd"); empty accepts any.
	Name string
	// SHA256 pins the binary (64 hex digits). The file that was hashed is the file that is
	// executed. Empty pins nothing.
	SHA256 string
	// Options are handed to the backend when it is opened, again after each restart. Values
	// that the plugin declares secret, and passwords in URLs, are masked in all that it logs or
	// answers.
	Options json.RawMessage
	// Resolve makes the options of a process, in place of Options, from what that process says
	// it takes. It is called whenever a backend is about to be opened, one call at a time, must
	// not block, and its errors are Open's. nil hands on Options as they are.
	Resolve func(schema []ports.Option) (json.RawMessage, error)
	// Env lets more of the environment through than PATH, HOME, locale, proxies and the like:
	// "NAME" copies a variable of the host, "NAME=value" sets one. PLUGIN_* is refused.
	Env []string
	// RuntimeDir is where the private (0700) folders for sockets are made. It must belong to
	// this user and be short, as a socket's path has at most 103 bytes. Empty: a folder of this
	// user in XDG_RUNTIME_DIR or in the folder for temporary files.
	RuntimeDir string
	// Logger gets what the plugin writes and what the supervisor does. nil discards it.
	Logger *slog.Logger

	// StartTimeout limits a start up to the answer of Open: 15 s. A context that ends sooner
	// wins.
	StartTimeout time.Duration
	// CallTimeout limits a call whose context has no deadline: 10 s.
	CallTimeout time.Duration
	// CloseTimeout limits the backend's own Close before its process is killed: 5 s.
	CloseTimeout time.Duration
	// Heartbeat is how often a process is asked for a sign of life, and how long it may take to
	// give one: 5 s. Two misses in a row are a hang.
	Heartbeat time.Duration

	// Hooks report to metrics, and DialOptions are added to the connection, to trace its calls.
	Hooks       Hooks
	DialOptions []grpc.DialOption
}

// Hooks are called by the supervisor, one at a time for each hook but Dropped, and must not
// block. Each may be nil.
type Hooks struct {
	// Started: a process is open for use; took is the time from its launch.
	Started func(generation int, took time.Duration)
	// Ended: a process that was open is gone. Reason is "exited", "hung" or "closed".
	Ended func(generation int, reason string)
	// Restarting: the next attempt begins after delay. Broken says that the breaker is open.
	Restarting func(delay time.Duration, broken bool)
	// Dropped: so many lines of the plugin's log were left out, as they came too fast.
	Dropped func(lines int)
}

// Default limits of a Launch.
const (
	defaultStartTimeout = 15 * time.Second
	defaultCallTimeout  = 10 * time.Second
	defaultCloseTimeout = 5 * time.Second
	defaultHeartbeat    = 5 * time.Second
)

var (
	nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)
	sumForm  = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)
)

// prepare checks l and fills in defaults.
func (l Launch) prepare() (Launch, error) {
	if l.Name != "" && !nameForm.MatchString(l.Name) {
		return l, badName(l.Name)
	}
	if l.SHA256 != "" && !sumForm.MatchString(l.SHA256) {
		return l, core.Invalid("plugin.sha256", l.SHA256, "give the 64 hex digits that `sha256sum` prints")
	}
	if len(l.Options) > 0 && !json.Valid(l.Options) {
		return l, &core.FieldError{Field: "backend_config", Allowed: "the options of a plugin must be one JSON object"}
	}
	if l.Logger == nil {
		l.Logger = slog.New(slog.DiscardHandler)
	}
	defaultTo(&l.StartTimeout, defaultStartTimeout)
	defaultTo(&l.CallTimeout, defaultCallTimeout)
	defaultTo(&l.CloseTimeout, defaultCloseTimeout)
	defaultTo(&l.Heartbeat, defaultHeartbeat)
	return l, nil
}

func defaultTo(d *time.Duration, value time.Duration) {
	if *d <= 0 {
		*d = value
	}
}

func badName(name string) error {
	return core.Invalid("backend", name, "a plugin's name has 1–63 of a-z 0-9 _ -, the first a letter or digit")
}
