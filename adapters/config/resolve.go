package config

// resolve.go: from the merged tree to typed values. Only what takes effect is expanded and
// typed, so that a variable which nothing needs may be unset.

import (
	"maps"
	"slices"

	"github.com/marketprism/prism/core"
)

// entry is one value of the merged configuration.
type entry struct {
	path    []string
	setting *setting
	secret  bool
	// noEffect says why the value does nothing; "" when it is in force.
	noEffect string
}

// resolver types a tree and lists what it found, in the order of the schema.
type resolver struct {
	lookup   func(string) (string, bool)
	problems *problems
	entries  []entry
}

// section types a mapping. Keys that cannot be typed are reported and left out.
func (r *resolver) section(f *field, tree map[string]any, path []string) map[string]any {
	out := make(map[string]any, len(tree))
	for _, key := range f.order(tree) {
		node, present := tree[key]
		sub := f.child(key)
		if !present || sub == nil || key == keyEnvironments || sub.kind == kindOptions {
			continue
		}
		if v, ok := r.value(sub, node, join(path, key)); ok {
			out[key] = v
		}
	}
	return out
}

// order returns the keys of a mapping: a section's as the schema has them, else sorted.
func (f *field) order(tree map[string]any) []string {
	if f.kind != kindSection {
		return slices.Sorted(maps.Keys(tree))
	}
	out := make([]string, 0, len(f.fields))
	for _, c := range f.fields {
		out = append(out, c.name)
	}
	return out
}

func (r *resolver) value(f *field, node any, path []string) (any, bool) {
	m, isMap := node.(map[string]any)
	s, _ := node.(*setting)
	switch {
	case isMap && f.kind == kindFree:
		return r.free(f, m, path)
	case isMap:
		return r.section(f, m, path), true
	case s == nil || !r.expand(s):
		return nil, false
	}
	r.entries = append(r.entries, entry{path: path, setting: s, secret: f.secret})
	return r.setting(f, s)
}

// setting types an expanded setting and keeps the value in it.
func (r *resolver) setting(f *field, s *setting) (v any, ok bool) {
	var err *core.FieldError
	switch {
	case s.From.Layer == LayerDefault:
		v = s.Value
	case f.kind == kindFree:
		v, err = s.free()
	case f.kind == kindList:
		list := make([]any, 0, len(s.Items))
		inner := &resolver{lookup: r.lookup, problems: r.problems}
		for _, item := range s.Items {
			m, _ := item.(map[string]any)
			list = append(list, inner.section(f.elem, m, nil))
		}
		v = list
	default:
		v, err = f.convert(s)
	}
	if err != nil {
		r.problems.add(s.From, err)
		return nil, false
	}
	s.Value = v
	return v, true
}

// free types a mapping of which nothing is known; each value of it is an entry of its own.
func (r *resolver) free(f *field, tree map[string]any, path []string) (any, bool) {
	out := make(map[string]any, len(tree))
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		if v, ok := r.value(f, tree[key], join(path, key)); ok {
			out[key] = v
		}
	}
	return out, true
}

// expand replaces variables in a setting that a file gave; variables of the environment and
// flags mean what they say.
func (r *resolver) expand(s *setting) bool {
	ok := true
	eachSetting(s, func(s *setting) {
		if s.Tag != tagText || s.From.Layer != LayerFile && s.From.Layer != LayerProfile {
			return
		}
		text, fault := expand(s.Text, r.lookup)
		if fault != "" {
			r.problems.addField(s.From, s.Key, fault)
			ok = false
			return
		}
		s.Text = text
	})
	return ok
}
