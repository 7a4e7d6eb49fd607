package core

// filter.go: one filter language for every surface, compiled once and evaluated per instance.

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/vm"
)

// MaxFilterBytes bounds an expression.
const MaxFilterBytes = 4096

// maxFilterLoops is how deep loops such as any(tags, …) may stand in one another. A list of some
// hundred elements fits in an expression, and five loops over it, one in another, take hours.
const maxFilterLoops = 2

// Filter selects instances by an expression of the expr language
// (https://expr-lang.org/docs/language-definition) that yields true or false:
//
//	version == "1.0.0" && "gateway" in tags && metadata.role == "collector"
//	status == "healthy" && zone in ["a", "b"] && weight > 10
//
// Loops such as any and all may stand in one another, two deep at the most. The zero value matches
// everything. A Filter is immutable and safe for concurrent use.
type Filter struct {
	source  string
	program *vm.Program
}

// filterEnv is what an expression can name.
type filterEnv struct {
	Service    string         `expr:"service"`
	ID         string         `expr:"id"`
	Host       string         `expr:"host"`
	Port       int            `expr:"port"`
	Scheme     string         `expr:"scheme"`
	Address    string         `expr:"address"`
	BaseURL    string         `expr:"base_url"`
	Version    string         `expr:"version"`
	Region     string         `expr:"region"`
	Zone       string         `expr:"zone"`
	Datacenter string         `expr:"datacenter"`
	Weight     int            `expr:"weight"`
	Tags       []string       `expr:"tags"`
	Metadata   map[string]any `expr:"metadata"`
	Status     string         `expr:"status"`
	Declared   string         `expr:"declared"`
	Observed   string         `expr:"observed"`
	Suspect    bool           `expr:"suspect"`
	Owner      string         `expr:"owner"`
	Keepalive  string         `expr:"keepalive"`
}

// ParseFilter compiles an expression. The error says where it is wrong.
func ParseFilter(source string) (Filter, error) {
	if strings.TrimSpace(source) == "" {
		return Filter{}, nil
	}
	if len(source) > MaxFilterBytes {
		return Filter{}, TooLarge("filter", fmt.Sprintf("%d bytes", len(source)), "use at most 4,096 bytes")
	}
	program, err := expr.Compile(source, expr.Env(filterEnv{}), expr.AsBool(), expr.MaxNodes(500))
	if err != nil {
		return Filter{}, Invalid("filter", source, "it does not parse: "+oneLine(err)+`; example: version == "1.0.0" && "gateway" in tags`)
	}
	node := program.Node()
	loops := loops{}
	if ast.Walk(&node, loops); loops.deepest() > maxFilterLoops {
		return Filter{}, Invalid("filter", source, "its loops, such as any and all, stand more than two deep in one another")
	}
	return Filter{source: source, program: program}, nil
}

// loops holds, for each body of a loop, how many loops deep it is, itself included.
type loops map[ast.Node]int

// Visit implements ast.Visitor. Inner bodies come before outer ones.
func (l loops) Visit(node *ast.Node) {
	if body, ok := (*node).(*ast.PredicateNode); ok {
		inner := within{of: l}
		ast.Walk(&body.Node, &inner)
		l[body] = inner.deepest + 1
	}
}

func (l loops) deepest() int {
	most := 0
	for _, depth := range l {
		most = max(most, depth)
	}
	return most
}

// within finds the deepest of the loops in a part of an expression.
type within struct {
	of      loops
	deepest int
}

// Visit implements ast.Visitor.
func (w *within) Visit(node *ast.Node) { w.deepest = max(w.deepest, w.of[*node]) }

// String returns the source.
func (f Filter) String() string { return f.source }

// IsZero reports whether the filter matches everything.
func (f Filter) IsZero() bool { return f.program == nil }

// Match reports whether an instance is selected. An expression that fails on an instance,
// such as a comparison with metadata of another type, does not select it.
func (f Filter) Match(i Instance) bool {
	if f.program == nil {
		return true
	}
	env := filterEnv{
		Service: i.Service, ID: i.ID, Host: i.Host, Port: i.Port, Scheme: i.Scheme, Address: i.Address(), BaseURL: i.BaseURL(),
		Version: i.Version, Region: i.Region, Zone: i.Zone, Datacenter: i.Datacenter, Weight: i.Weight,
		Status: string(i.Status()), Declared: string(i.State.Declared), Observed: string(i.State.Observed),
		Suspect: i.Suspect, Owner: i.Owner, Keepalive: string(i.Keepalive), Tags: i.Tags.sorted,
	}
	if strings.Contains(f.source, "metadata") || strings.Contains(f.source, "$env") {
		env.Metadata, _ = filterValue(i.Metadata.Map()).(map[string]any)
	}
	out, err := expr.Run(f.program, env)
	ok, isBool := out.(bool)
	return err == nil && isBool && ok
}

// filterValue turns exact number literals into numbers that expressions can compare.
func filterValue(v any) any {
	switch x := v.(type) {
	case json.Number:
		if n, err := x.Int64(); err == nil && n >= math.MinInt && n <= math.MaxInt {
			return int(n)
		}
		f, _ := x.Float64() // out of range is ±Inf, which compares as it should
		return f
	case map[string]any:
		for k := range x {
			x[k] = filterValue(x[k])
		}
	case []any:
		for k := range x {
			x[k] = filterValue(x[k])
		}
	}
	return v
}

func oneLine(err error) string {
	first, _, _ := strings.Cut(err.Error(), "\n")
	return first
}
