package redis

// layout.go: which key holds what. All keys share one hash tag, so that Redis Cluster keeps them
// together and a script may use them all.

import (
	"strings"

	"github.com/marketprism/prism/core"
)

// layout is what every key of a namespace begins with: "{prism:NAMESPACE}:".
type layout string

func newLayout(namespace string) layout { return layout("{prism:" + namespace + "}:") }

// keys are those that every script gets, in the order of lua/prelude.lua. The log is one for each
// epoch, so that who reads on in the old one never takes the new one for its continuation.
func (l layout) keys(epoch string) []string {
	names := []string{"meta", "records", "tombstones", "tombstones:forget", "sessions", "sessions:about", "sessions:records", "sessions:ended", "log:" + epoch}
	for i := range names {
		names[i] = string(l) + names[i]
	}
	return names
}

func (l layout) meta() string            { return string(l) + "meta" }
func (l layout) records() string         { return string(l) + "records" }
func (l layout) log(epoch string) string { return string(l) + "log:" + epoch }

// field is a key among the records and tombstones. Names and ids have no slash.
func field(k core.Key) string { return k.Service + "/" + k.ID }

// parseField reads what field wrote; false for anything else.
func parseField(f string) (core.Key, bool) {
	service, id, ok := strings.Cut(f, "/")
	k := core.Key{Service: service, ID: id}
	return k, ok && k.Validate() == nil
}
