package core

// filter.go: one filter language for every surface, compiled once and evaluated per instance.

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
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

// maxFilterRange bounds a range that is made into a list to look something up in it.
const maxFilterRange = 1000

// filterFunctions are those that make nothing that is larger than what they are given: of a short
// expression, others make lists of a million elements and strings of gigabytes.
var filterFunctions = []string{
	"all", "any", "none", "one", "count", "filter", "find", "findIndex", "first", "last", "len", "keys", "values", "get",
	"lower", "upper", "trim", "trimPrefix", "trimSuffix", "hasPrefix", "hasSuffix", "indexOf", "lastIndexOf",
	"int", "float", "type", "abs", "ceil", "floor", "round", "min", "max",
}

// Filter selects instances by an expression of the expr language
// (https://expr-lang.org/docs/language-definition) that yields true or false:
//
//	version == "1.0.0" && "gateway" in tags && metadata.role == "collector"
//	status == "healthy" && zone in ["a", "b"] && weight > 10
//
// Of that language, a filter has what cannot grow, so that it is worked out in little time and memory.
// Its functions are:
//
//   - all, any, none, one, count, filter, find and findIndex, which may stand in one another two deep
//   - first, last, len, keys, values and get
//   - lower, upper, trim, trimPrefix, trimSuffix, hasPrefix, hasSuffix, indexOf and lastIndexOf
//   - int, float, type, abs, ceil, floor, round, min and max
//
// There is no let, + is for numbers, and a range stands on the right of in, between two whole numbers
// (port in 8000..8999). The zero value matches everything. A Filter is immutable and safe for concurrent use.
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
	// The visitor sees the tree that was written: the optimiser puts parts of it where no Walk goes.
	limits := &filterLimits{loops: map[ast.Node]int{}, ranges: map[ast.Node]bool{}}
	program, err := expr.Compile(source, expr.Env(filterEnv{}), expr.AsBool(), expr.MaxNodes(500), expr.Patch(limits))
	if err != nil {
		return Filter{}, Invalid("filter", source, "it does not parse: "+oneLine(err)+`; example: version == "1.0.0" && "gateway" in tags`)
	}
	if limits.deepest > maxFilterLoops {
		return Filter{}, Invalid("filter", source, "its loops, such as any and all, stand more than two deep in one another")
	}
	if bad := limits.refused(); bad != "" {
		return Filter{}, Invalid("filter", source, "a filter has no "+bad+"; it has operators, ranges as in port in 8000..8999, and the functions "+
			strings.Join(filterFunctions, ", "))
	}
	return Filter{source: source, program: program}, nil
}

// filterLimits finds what a filter may not have. Walk visits inner nodes before outer ones.
type filterLimits struct {
	loops   map[ast.Node]int // for each body of a loop, how many loops deep it is, itself included
	deepest int
	ranges  map[ast.Node]bool // every range, and whether it may stand where it does
	bad     string            // the first other part that is not allowed
}

// Visit implements ast.Visitor.
func (l *filterLimits) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.PredicateNode:
		inner := within{of: l.loops}
		ast.Walk(&n.Node, &inner)
		l.loops[n] = inner.deepest + 1
		l.deepest = max(l.deepest, l.loops[n])
	case *ast.BuiltinNode:
		if !slices.Contains(filterFunctions, n.Name) {
			l.refuse(n.Name)
		}
	case *ast.VariableDeclaratorNode:
		l.refuse("let") // each of a hundred could hold the one before it twice
	case *ast.BinaryNode:
		l.operator(n)
	}
}

func (l *filterLimits) operator(n *ast.BinaryNode) {
	switch n.Operator {
	case "..":
		l.ranges[n] = false
	case "in":
		if r, ok := n.Right.(*ast.BinaryNode); ok && r.Operator == ".." {
			l.ranges[r] = smallRange(n.Left, r)
		}
	case "+": // with a number on one side, anything but a number on the other fails
		if !isNumber(n.Left) && !isNumber(n.Right) {
			l.refuse("+ but of numbers")
		}
	}
}

func (l *filterLimits) refuse(what string) {
	if l.bad == "" {
		l.bad = what
	}
}

func (l *filterLimits) refused() string {
	for _, allowed := range l.ranges {
		if !allowed {
			l.refuse("range elsewhere than on the right of in, from one whole number to another at most 1,000 further")
		}
	}
	return l.bad
}

// smallRange reports whether looking for left in a range makes no long list. For a left side that is
// known to be an int the optimiser makes two comparisons of it.
func smallRange(left ast.Node, r *ast.BinaryNode) bool {
	from, ok := r.Left.(*ast.IntegerNode)
	to, alsoOK := r.Right.(*ast.IntegerNode)
	return ok && alsoOK && (left.Type().Kind() == reflect.Int || to.Value-from.Value <= maxFilterRange)
}

func isNumber(n ast.Node) bool {
	switch n.Type().Kind() { //nolint:exhaustive // the kinds that expressions have
	case reflect.Int, reflect.Float64:
		return true
	}
	return false
}

// within finds the deepest of the loops in a part of an expression.
type within struct {
	of      map[ast.Node]int
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
