package config

// backend.go: the options of the selected backend, flat or under its name.

import (
	"fmt"
	"maps"
	"slices"

	"github.com/marketprism/prism/ports"
)

// fallback is an option that variables of the store's own world give when nothing else does.
type fallback struct {
	option    string
	variables []string
}

// fallbacks and usualAddresses are for the backends that Prism comes with.
var (
	fallbacks = map[string][]fallback{
		"consul": {{"url", []string{"CONSUL_URL", "CONSUL_HTTP_ADDR"}}, {"token", []string{"CONSUL_HTTP_TOKEN"}}},
		"etcd":   {{"url", []string{"ETCD_URL"}}},
		"nats":   {{"url", []string{"NATS_URL"}}},
		"redis":  {{"url", []string{"REDIS_URL"}}},
	}
	usualAddresses = map[string]string{
		"consul": "http://127.0.0.1:8500", "etcd": "http://127.0.0.1:2379",
		"nats": "nats://127.0.0.1:4222", "redis": "redis://127.0.0.1:6379",
	}
	// placeOptions are the names under which these backends take where their store is.
	placeOptions = []string{"url", "urls", "sentinels"}
)

// assignOptions gives the flat options of a layer to the backend that the same layer names,
// so that a later layer which selects another backend does not inherit them. Where the layer
// names none, they are the selected backend's, whichever it is.
func (l *loading) assignOptions(tree map[string]any) {
	options, _ := tree[keyBackendConfig].(map[string]any)
	var backend string
	if s := settingAt(tree, "backend"); s != nil && s.From.Layer != LayerDefault {
		backend = l.expandQuietly(s)
	}
	for _, name := range slices.Sorted(maps.Keys(options)) {
		switch node := options[name].(type) {
		case map[string]any:
			if s := settingAt(node, ports.OptionNamespace); s != nil {
				l.problems.addField(s.From, s.Key, "the namespace stands at the top of backend_config; move it to backend_config.namespace")
			}
		case *setting:
			node.Flat = name != ports.OptionNamespace
			if !node.Flat || backend == "" || name == backend {
				continue
			}
			own, _ := options[backend].(map[string]any)
			if own == nil {
				own = map[string]any{}
				options[backend] = own
			}
			if s := settingAt(own, name); s != nil {
				l.twice(node, s)
			} else {
				own[name] = node
			}
			delete(options, name)
		}
	}
}

func (l *loading) twice(a, b *setting) {
	if b.From.Line < a.From.Line {
		a, b = b, a
	}
	l.problems.addField(b.From, b.Key, fmt.Sprintf("the same option stands at %s too, as %s; keep one of them", a.From, a.Key))
}

// backendOptions chooses the options that the selected backend gets, and types them by how
// they are written. Other backends' are entries without effect.
func (l *loading) backendOptions(r *resolver, tree map[string]any, selected string) map[string]*setting {
	given, _ := tree[keyBackendConfig].(map[string]any)
	out := map[string]*setting{}
	var idle []entry
	take := func(name string, s *setting) {
		before, twice := out[name]
		if twice && before.Order == s.Order {
			l.twice(before, s)
		}
		if !twice || s.Order > before.Order {
			out[name] = s
		}
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		switch node := given[name].(type) {
		case *setting:
			take(name, node)
		case map[string]any:
			for _, option := range slices.Sorted(maps.Keys(node)) {
				s := settingAt(node, option)
				if s == nil {
					continue
				}
				if name == selected {
					take(option, s)
					continue
				}
				s.Value, _ = optionValue(s) // as it is written, for people
				idle = append(idle, entry{path: []string{keyBackendConfig, name, option}, setting: s, noEffect: l.notSelected(s, name, selected)})
			}
		}
	}
	f := l.schema.child(keyBackendConfig).elem
	for _, name := range slices.Sorted(maps.Keys(out)) {
		path := []string{keyBackendConfig, name}
		if s := out[name]; !s.Flat && name != ports.OptionNamespace {
			path = []string{keyBackendConfig, selected, name}
		}
		kind := f
		if name == ports.OptionNamespace { // a name, also where it looks like a number
			kind = &field{kind: kindText}
		}
		r.value(kind, out[name], path)
	}
	l.fallBack(r, out, selected)
	r.entries = append(r.entries, idle...)
	return out
}

func (l *loading) notSelected(s *setting, backend, selected string) string {
	why := fmt.Sprintf("the backend is %s, and this is %s's", selected, backend)
	if s.Flat {
		why = fmt.Sprintf("the backend is %s, and this was given together with backend: %s", selected, backend)
		l.notices = append(l.notices, Notice{Kind: NoticeNoEffect, Key: s.Key, Source: s.From, Message: s.Key + " has no effect: " + why})
	}
	return why
}

// fallBack fills in what nothing gave: from the store's usual variables, else its usual
// local address.
func (l *loading) fallBack(r *resolver, out map[string]*setting, selected string) {
	hasPlace := slices.ContainsFunc(placeOptions, func(name string) bool { return !out[name].empty() })
	use := func(option string, s *setting) {
		s.Key, s.Flat, s.Value = formatPath([]string{keyBackendConfig, option}), true, s.Text
		r.entries = slices.DeleteFunc(r.entries, func(e entry) bool { return e.setting == out[option] })
		r.entries = append(r.entries, entry{path: []string{keyBackendConfig, option}, setting: s})
		out[option] = s
	}
	for _, f := range fallbacks[selected] {
		if !out[f.option].empty() || f.option == "url" && hasPlace {
			continue
		}
		for _, name := range f.variables {
			v, _ := l.env.lookup(name)
			if v == "" {
				continue
			}
			use(f.option, &setting{Tag: tagText, Text: v, From: Source{Layer: LayerEnvironment, Name: name}})
			hasPlace = hasPlace || f.option == "url"
			break
		}
	}
	if address := usualAddresses[selected]; address != "" && !hasPlace {
		use("url", &setting{Tag: tagText, Text: address, From: Source{Layer: LayerDefault}})
	}
}

// empty reports whether an option is not given, or is given as "".
func (s *setting) empty() bool {
	return s == nil || s.Value == nil || s.Value == ""
}

func optionValues(options map[string]*setting) map[string]any {
	out := make(map[string]any, len(options))
	for name, s := range options {
		if s.Value != nil {
			out[name] = s.Value
		}
	}
	return out
}

// BackendOptions returns the options of the selected backend, "namespace" included, typed by
// how they are written: string, int64, float64, bool or []string. The map is the caller's.
func (l *Loaded) BackendOptions() map[string]any { return optionValues(l.options) }
