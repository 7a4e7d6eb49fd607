package config

// env.go: the layer of environment variables, PRISM_ or its alias SERVICE_DISCOVERY_ before
// the path in upper case, "__" between levels. An empty variable counts as not set.

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The prefixes; where both set one key, the first wins.
const (
	prefixPrism = "PRISM_"
	prefixAlias = "SERVICE_DISCOVERY_"
)

const variableConfig = "PRISM_CONFIG"

// otherVariables are Prism's own and no part of the configuration.
var otherVariables = []string{
	variableConfig, "PRISM_ADDRESS", "PRISM_TOKEN", "PRISM_PLUGIN_DIR",
	"PRISM_CONSUL_BIN", "PRISM_ETCD_BIN", "PRISM_NATS_BIN", "PRISM_REDIS_BIN",
}

// environ looks variables up in a list such as os.Environ gives.
type environ map[string]string

func newEnviron(list []string) environ {
	out := make(environ, len(list))
	for _, kv := range list {
		if name, value, ok := strings.Cut(kv, "="); ok {
			out[name] = value
		}
	}
	return out
}

func (e environ) lookup(name string) (string, bool) {
	v, ok := e[name]
	return v, ok
}

// variableOf is one variable that names a path.
type variableOf struct {
	name, value string
	parts       []string // lower case, without service_discovery
}

// variables returns those with a prefix, PRISM_ before its alias, shorter paths first, so
// that a section comes before a key within it.
func (e environ) variables(known []string) []variableOf {
	var out []variableOf
	for name, value := range e {
		rest, ok := strings.CutPrefix(name, prefixPrism)
		if !ok {
			rest, ok = strings.CutPrefix(name, prefixAlias)
		}
		if !ok || value == "" || slices.Contains(otherVariables, name) || slices.Contains(known, name) {
			continue
		}
		parts := strings.Split(strings.ToLower(rest), "__")
		if len(parts) > 1 && parts[0] == keyWrapper {
			parts = parts[1:]
		}
		out = append(out, variableOf{name: name, value: value, parts: parts})
	}
	rank := func(v variableOf) int {
		if strings.HasPrefix(v.name, prefixPrism) {
			return 0
		}
		return 1
	}
	slices.SortFunc(out, func(a, b variableOf) int {
		return cmp.Or(cmp.Compare(len(a.parts), len(b.parts)), cmp.Compare(rank(a), rank(b)), cmp.Compare(len(a.name), len(b.name)), cmp.Compare(a.name, b.name))
	})
	return out
}

// environmentLayer reads the variables over a tree, whose names they may use.
func (l *loading) environmentLayer(tree map[string]any, order int) layer {
	out := newLayer()
	set := map[string]variableOf{}
	for _, v := range l.env.variables(l.options.KnownVariables) {
		src := Source{Layer: LayerEnvironment, Name: v.name}
		path, fault := l.variablePath(v.parts, tree)
		if fault != "" {
			l.notices = append(l.notices, Notice{Kind: NoticeUnknownVariable, Source: src, Message: fault})
			continue
		}
		key := formatPath(path)
		if first, twice := set[internalPath(path)]; twice {
			if first.value != v.value {
				l.notices = append(l.notices, Notice{Kind: NoticeTwoVariables, Key: key, Source: src, Message: fmt.Sprintf(
					"%s is set differently by %s, which wins; unset one of the two", key, first.name)})
			}
			continue
		}
		set[internalPath(path)] = v
		f, _ := l.schema.at(path)
		r := &reader{root: l.schema, source: src, order: order, where: out.where, problems: &l.problems}
		if value, ok := r.text(v.value, f, path); ok {
			out.put(path, value)
			out.where[internalPath(path)] = src
		}
	}
	return out
}

// variablePath finds the key that a variable names; the fault says why there is none.
func (l *loading) variablePath(parts []string, tree map[string]any) (path []string, fault string) {
	const ignored = "; it is ignored"
	f := l.schema
	for i, part := range parts {
		if part == "" || f.kind == kindList || i == 0 && part == keyEnvironments {
			return nil, "it names no key of the configuration" + ignored
		}
		name := part
		if f.kind != kindSection {
			below, _ := at(tree, path...).(map[string]any)
			names := sameVariable(below, part)
			if len(names) > 1 {
				return nil, fmt.Sprintf("it could mean %s; use --set for them%s", strings.Join(names, " or "), ignored)
			}
			if len(names) == 1 {
				name = names[0]
			}
		}
		next := f.child(name)
		if next == nil {
			nearest := strings.TrimPrefix(f.suggest(l.schema, join(path, part)), "there is no such key; ")
			return nil, "it names no key of the configuration; " + nearest + ignored
		}
		path, f = join(path, name), next
	}
	return path, ""
}

// sameVariable returns the names of a mapping that a variable's part stands for: characters
// that variables cannot hold are "_" there.
func sameVariable(tree map[string]any, part string) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		as := strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
				return r
			}
			return '_'
		}, strings.ToLower(name))
		if as == part || strings.ToLower(name) == part {
			out = append(out, name)
		}
	}
	return out
}
