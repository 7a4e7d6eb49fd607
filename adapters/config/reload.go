package config

// reload.go: what a running host takes over from a changed configuration, and what it cannot.

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

// reloadable are the keys, and sections, that a running host takes over.
var reloadable = []string{
	"health_check_interval", "load_balancing", "services", "logging.level",
	"security.tls", "security.auth.token", "security.auth.username", "security.auth.password", "security.auth.tokens",
}

// Diff compares two configurations and returns the dotted paths that differ, sorted: those
// that a running host can take over (SIGHUP), and those that need a restart.
func Diff(before, after Config) (reload, restart []string) {
	a, b := map[string]any{}, map[string]any{}
	flatten(a, nil, reflect.ValueOf(before))
	flatten(b, nil, reflect.ValueOf(after))
	paths := maps.Clone(a)
	maps.Copy(paths, b)
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		if reflect.DeepEqual(a[path], b[path]) || none(a[path]) && none(b[path]) {
			continue
		}
		taken := slices.ContainsFunc(reloadable, func(key string) bool {
			return path == key || strings.HasPrefix(path, key+".")
		})
		if taken {
			reload = append(reload, path)
		} else {
			restart = append(restart, path)
		}
	}
	return reload, restart
}

// flatten lists the values of a Config by dotted path; a service is one value.
func flatten(out map[string]any, path []string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for sf, fv := range v.Fields() {
			flatten(out, join(path, sf.Tag.Get("koanf")), fv)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			out[formatPath(join(path, key.String()))] = v.MapIndex(key).Interface()
		}
	default:
		out[formatPath(path)] = v.Interface()
	}
}

// none reports whether a value is missing, or a list without items.
func none(v any) bool {
	rv := reflect.ValueOf(v)
	return v == nil || rv.Kind() == reflect.Slice && rv.Len() == 0
}
