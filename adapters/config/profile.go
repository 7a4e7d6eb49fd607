package config

// profile.go: the profile that is chosen of those under environments.

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/marketprism/prism/core"
)

// profile returns the settings of the chosen profile, and an entry for each other.
func (l *loading) profile(files, flags map[string]any, order int) (map[string]any, []entry) {
	profiles, _ := files[keyEnvironments].(map[string]any)
	chosen := settingAt(files, "environment")
	for _, v := range l.env.variables(nil) {
		if len(v.parts) == 1 && v.parts[0] == "environment" {
			chosen = &setting{Key: "environment", Tag: tagText, Text: v.value, From: Source{Layer: LayerEnvironment, Name: v.name}}
			break
		}
	}
	if s := settingAt(flags, "environment"); s != nil {
		chosen = s
	}
	var name string
	if chosen != nil {
		name = l.expandQuietly(chosen)
	}
	var unchosen []entry
	for _, other := range slices.Sorted(maps.Keys(profiles)) {
		if other == name {
			continue
		}
		path := []string{keyEnvironments, other}
		unchosen = append(unchosen, entry{
			path: path, setting: &setting{Value: count(profiles[other]), From: l.where[internalPath(path)]},
			noEffect: "this profile is not chosen; environment: " + other + " chooses it",
		})
	}
	if name == "" {
		return map[string]any{}, unchosen
	}
	tree, exists := profiles[name].(map[string]any)
	if !exists {
		sentence := "there are no profiles; write one under environments, or leave it empty"
		if names := slices.Sorted(maps.Keys(profiles)); len(names) > 0 {
			sentence = "there is no such profile; use " + strings.Join(names, ", ")
		}
		l.problems.add(chosen.From, core.Invalid("environment", name, sentence))
		return map[string]any{}, unchosen
	}
	eachSetting(tree, func(s *setting) { s.From.Layer, s.Order = LayerProfile, order })
	prefix := internalPath([]string{keyEnvironments, name, ""})
	for path, src := range maps.Clone(l.where) {
		if rest, below := strings.CutPrefix(path, prefix); below {
			src.Layer = LayerProfile
			l.where[rest] = src
		}
	}
	return tree, unchosen
}

// expandQuietly returns a setting's text with its variables, or "" where one is not set:
// that is reported when the setting takes effect.
func (l *loading) expandQuietly(s *setting) string {
	if s.From.Layer != LayerFile && s.From.Layer != LayerProfile {
		return s.Text
	}
	text, fault := expand(s.Text, l.env.lookup)
	if fault != "" {
		return ""
	}
	return text
}

// count words how many settings a tree holds.
func count(tree any) string {
	n := 0
	eachSetting(tree, func(*setting) { n++ })
	if n == 1 {
		return "1 value"
	}
	return fmt.Sprintf("%d values", n)
}
