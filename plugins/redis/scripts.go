package redis

// scripts.go: the scripts, which make every operation atomic, and what they answer.

import (
	"embed"
	"fmt"
	"strconv"

	goredis "github.com/redis/go-redis/v9"

	"github.com/marketprism/prism/ports"
)

//go:embed lua/*.lua
var lua embed.FS

var (
	joinScript     = newScript("join")
	loadScript     = newScript("load")
	commitScript   = newScript("commit")
	sessionScript  = newScript("session")
	positionScript = newScript("position")
	snapshotScript = newScript("snapshot")
	healthScript   = newScript("health")
)

func newScript(name string) *goredis.Script {
	var source []byte
	for _, file := range []string{"prelude", name} {
		part, err := lua.ReadFile("lua/" + file + ".lua")
		if err != nil {
			panic(err) // it is part of this program
		}
		source = append(source, part...)
	}
	return goredis.NewScript(string(source))
}

// reply is what a script answered.
type reply struct {
	status   string // "ok", or why nothing was done
	life     *life
	revision uint64 // of the latest write
	items    []any  // what comes after it
	repeated bool   // the script was sent again because the first answer did not come
}

// unknown tells, of a script that found another life, whether it may have done something all the
// same: its first sending, or one that saw too late that revisions run backwards.
func (r reply) unknown() bool { return r.repeated || r.status == "ok" }

// parseReply reads a script's list.
func parseReply(answer any) (reply, error) {
	list, ok := answer.([]any)
	if !ok || len(list) == 0 {
		return reply{}, strange(answer)
	}
	r := reply{status: asText(list[0])}
	if r.status != "ok" {
		r.items = list[1:]
		return r, nil
	}
	if len(list) < 2 {
		return reply{}, strange(answer)
	}
	var err error
	if r.revision, err = strconv.ParseUint(asText(list[1]), 10, 64); err != nil {
		return reply{}, strange(answer)
	}
	r.items = list[2:]
	return r, nil
}

// list is the item at i, which has so many elements, -1 for any number.
func (r reply) list(i, length int) ([]any, error) {
	if i >= len(r.items) {
		return nil, strange(r.items)
	}
	l, ok := r.items[i].([]any)
	if !ok || length >= 0 && len(l) != length {
		return nil, strange(r.items[i])
	}
	return l, nil
}

func strange(answer any) error {
	return fmt.Errorf("redis: a script answered with an unexpected %T; is it changed by a proxy?: %w", answer, ports.ErrUnavailable)
}

// asText is a string of a reply, "" for anything else.
func asText(v any) string {
	s, _ := v.(string)
	return s
}

// asInt is a number of a reply, 0 for anything else.
func asInt(v any) int64 {
	n, _ := v.(int64)
	return n
}
