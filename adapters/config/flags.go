package config

// flags.go: the layer of flags and --set, which wins over all others. Values mean what they
// say: variables in them are not expanded.

import (
	"maps"
	"slices"
	"strings"
)

func (l *loading) flagLayer(order int) layer {
	out := newLayer()
	for _, key := range slices.Sorted(maps.Keys(l.options.Flags)) {
		name := "--" + key[strings.LastIndexByte(key, '.')+1:]
		l.flag(out, Source{Layer: LayerFlag, Name: name}, key, l.options.Flags[key], order)
	}
	for _, kv := range l.options.Set {
		src := Source{Layer: LayerFlag, Name: "--set"}
		key, value, ok := splitSetting(kv)
		if !ok {
			l.problems.add(src, sentenceError("there is no \"=\" in it; use --set key=value"))
			continue
		}
		l.flag(out, src, key, value, order)
	}
	if l.options.Environment != "" {
		l.flag(out, Source{Layer: LayerFlag, Name: "--environment"}, "environment", l.options.Environment, order)
	}
	if l.options.Insecure {
		l.flag(out, Source{Layer: LayerFlag, Name: "--insecure"}, "server.insecure", true, order)
	}
	return out
}

func (l *loading) flag(out layer, src Source, key string, value any, order int) {
	path, ok := parsePath(key)
	if !ok {
		l.problems.add(src, sentenceError(`the key cannot be read; use a path such as server.http, and quotes around a name with dots: services."a.b".port`))
		return
	}
	if len(path) > 1 && path[0] == keyWrapper {
		path = path[1:]
	}
	if path[0] == keyEnvironments {
		l.problems.addField(src, key, "a flag does not change a profile; set the key itself, without "+keyEnvironments)
		return
	}
	f, n := l.schema.at(path)
	if f == nil {
		parent, _ := l.schema.at(path[:n])
		sentence := parent.suggest(l.schema, path[:n+1])
		if n > 0 && path[0] == "services" {
			sentence += `; put a service's name with dots in quotes: services."a.b".port`
		}
		l.problems.addField(src, formatPath(path[:n+1]), sentence)
		return
	}
	out.where[internalPath(path)] = src
	if text, isText := value.(string); isText {
		r := &reader{root: l.schema, source: src, order: order, where: out.where, problems: &l.problems}
		if v, ok := r.text(text, f, path); ok {
			out.put(path, v)
		}
		return
	}
	s := settingOf(value)
	eachSetting(s, func(s *setting) { s.Key, s.From, s.Order = formatPath(path), src, order })
	out.put(path, s)
}
