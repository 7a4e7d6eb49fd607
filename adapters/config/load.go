package config

// load.go: the layers, put together.

import (
	"fmt"
	"maps"
	"slices"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/v2"
)

// Loaded is a configuration and how it came about.
type Loaded struct {
	Config Config
	// Sources says where each value came from, by dotted path.
	Sources map[string]Source
	// Notices are warnings, in the order of the sources.
	Notices []Notice
	// FilesRead are the files that were read, in order.
	FilesRead []string

	entries  []entry
	options  map[string]*setting
	profiles []entry
}

// loading is the state of one Load.
type loading struct {
	options  LoadOptions
	schema   *field
	env      environ
	where    map[string]Source
	problems problems
	notices  []Notice
}

// Load reads the configuration. The error names file, line and key of every fault, one
// sentence a line, and wraps core.ErrInvalid or core.ErrUnsupported; it never repeats a
// secret. Whether the result may be started is for Loaded.Validate to say.
func Load(o LoadOptions) (*Loaded, error) {
	l := &loading{options: o, schema: schema(), env: newEnviron(o.Env), where: map[string]Source{}}
	names, err := o.files(l.env.lookup)
	if err != nil {
		return nil, err
	}
	tree, err := l.readFiles(names)
	if err != nil {
		return nil, err
	}
	merged, profiles, err := l.merge(tree, len(names)+1)
	if err != nil {
		return nil, err
	}
	out, err := l.typed(merged)
	if err != nil {
		return nil, err
	}
	out.FilesRead, out.profiles = names, profiles
	out.report(l.notices)
	return out, nil
}

// readFiles merges the files, which stay untyped.
func (l *loading) readFiles(names []string) (map[string]any, error) {
	k := koanf.New(delimiter)
	for i, name := range names {
		b, err := readFile(name)
		if err != nil {
			return nil, err
		}
		r := &reader{
			root: l.schema, source: Source{Layer: LayerFile, Name: name}, lines: true, order: i + 1,
			where: l.where, problems: &l.problems,
		}
		tree, found := r.file(b)
		if !found && len(l.problems) == 0 {
			l.notices = append(l.notices, Notice{Kind: NoticeEmptyFile, Source: r.source, Message: "it holds no key, so every value is a default"})
		}
		l.assignOptions(tree)
		if err := k.Load(layer{tree: tree}, nil); err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
	}
	if err := l.problems.err(); err != nil {
		return nil, err
	}
	return k.Raw(), nil
}

// merge puts the layers over one another: defaults, files, the profile, variables, flags.
func (l *loading) merge(files map[string]any, order int) (map[string]any, []entry, error) {
	flags := l.flagLayer(order + 2)
	profile, unchosen := l.profile(files, flags.tree, order)
	delete(files, keyEnvironments)
	k := koanf.New(delimiter)
	load := func(tree map[string]any) {
		if err := k.Load(layer{tree: tree}, nil); err != nil {
			l.problems.add(Source{}, err)
		}
	}
	load(defaults().tree)
	load(files)
	l.assignOptions(profile)
	load(profile)
	env := l.environmentLayer(k.Raw(), order+1)
	for _, tree := range []map[string]any{env.tree, flags.tree} {
		l.assignOptions(tree)
		load(tree)
	}
	maps.Copy(l.where, env.where)
	maps.Copy(l.where, flags.where)
	if err := l.problems.err(); err != nil {
		return nil, nil, err
	}
	return k.Raw(), unchosen, nil
}

// typed turns the merged tree into the Config.
func (l *loading) typed(tree map[string]any) (*Loaded, error) {
	r := &resolver{lookup: l.env.lookup, problems: &l.problems}
	typed := r.section(l.schema, tree, nil)
	if err := l.problems.err(); err != nil {
		return nil, err
	}
	backend, _ := typed["backend"].(string) // the schema says text
	options := l.backendOptions(r, tree, backend)
	services, _ := typed["services"].(map[string]any)
	delete(typed, "services")
	k := koanf.New(delimiter)
	if err := k.Load(layer{tree: typed}, nil); err != nil {
		return nil, fmt.Errorf("type the configuration: %w", err)
	}
	out := &Loaded{Sources: map[string]Source{}, options: options}
	err := k.UnmarshalWithConf("", &out.Config, koanf.UnmarshalConf{
		DecoderConfig: &mapstructure.DecoderConfig{TagName: "koanf", ErrorUnused: true},
	})
	if err != nil {
		return nil, fmt.Errorf("type the configuration: %w", err)
	}
	out.Config.BackendConfig = optionValues(options)
	out.entries = l.inSchemaOrder(r.entries)
	for _, e := range out.entries {
		if e.noEffect == "" {
			out.Sources[formatPath(e.path)] = e.setting.From
		}
	}
	strategies := l.options.Strategies
	if strategies == nil {
		strategies = Strategies()
	}
	for _, fe := range out.Config.check(strategies) {
		l.problems.add(out.locate(fe))
	}
	if len(l.problems) == 0 { // an entry is judged by defaults that are right
		out.Config.Services = l.services(services, out.Config.InstanceDefaults())
	}
	return out, l.problems.err()
}

// inSchemaOrder sorts entries by their first key, as the schema has them.
func (l *loading) inSchemaOrder(entries []entry) []entry {
	rank := map[string]int{}
	for i, f := range l.schema.fields {
		rank[f.name] = i
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return rank[a.path[0]] - rank[b.path[0]] })
	return entries
}
