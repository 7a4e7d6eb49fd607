package main

// suiteview.go: a run of the conformance suite for people: each case as it ends, and a table at
// the end.

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/prism/conformance"
)

// suiteView shows progress. It implements conformance.Reporter.
type suiteView struct {
	w       io.Writer
	total   int
	done    map[conformance.Outcome]int
	rewrite bool // a terminal: the line of counts is written over
}

func newSuiteView(w io.Writer, r *suiteReport, total int) *suiteView {
	fmt.Fprintf(w, "Prism %s: %d cases on backend %s %s, seed %d\n", r.Prism, total, printable(r.Backend), printable(r.Version), r.Seed)
	return &suiteView{w: w, total: total, done: map[conformance.Outcome]int{}, rewrite: terminal(w)}
}

const eraseLine = "\r\x1b[K"

// Done implements conformance.Reporter.
func (v *suiteView) Done(r conformance.Result) {
	v.done[r.Outcome]++
	count := v.done[conformance.Passed] + v.done[conformance.Failed] + v.done[conformance.NotRun]
	line := fmt.Sprintf("%*d/%d  %-7s  %s  %s", len(strconv.Itoa(v.total)), count, v.total, words(r.Outcome), r.ID, seconds(r.Duration))
	switch {
	case !v.rewrite:
		fmt.Fprintln(v.w, line)
	case r.Outcome == conformance.Failed:
		fmt.Fprint(v.w, eraseLine+line+"\n")
	default:
		fmt.Fprintf(v.w, eraseLine+"%d/%d  %d passed, %d failed, %d not run", count, v.total,
			v.done[conformance.Passed], v.done[conformance.Failed], v.done[conformance.NotRun])
	}
}

// end leaves the line for what comes next.
func (v *suiteView) end() {
	if v.rewrite {
		fmt.Fprint(v.w, eraseLine)
	}
}

func words(o conformance.Outcome) string { return strings.ReplaceAll(string(o), "_", " ") }

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 2, 64) + " s" }

// suiteGroup is the cases whose ids begin alike, in the order of the suite.
type suiteGroup struct {
	name    string
	results []conformance.Result
	count   map[conformance.Outcome]int
	took    time.Duration // of all cases together
}

func (r *suiteReport) groups() []*suiteGroup {
	var all []*suiteGroup
	byName := map[string]*suiteGroup{}
	for _, res := range r.Results {
		name, _, _ := strings.Cut(res.ID, "/")
		g := byName[name]
		if g == nil {
			g = &suiteGroup{name: name, count: map[conformance.Outcome]int{}}
			byName[name], all = g, append(all, g)
		}
		g.results = append(g.results, res)
		g.count[res.Outcome]++
		g.took += res.Duration
	}
	return all
}

// summary is the result in one line.
func (r *suiteReport) summary() string {
	return fmt.Sprintf("backend %s %s, contract %d: %d passed, %d failed, %d not run in %s; seed %d",
		r.Backend, r.Version, r.Contract, r.Passed, r.Failed, r.NotRun, seconds(r.Duration), r.Seed)
}

// claims says what the backend was asked for besides what all are.
func (r *suiteReport) claims() string {
	return "capabilities: " + orDash(strings.Join(r.Capabilities, ", "))
}

// table shows groups, then each failure, then what was not run and why.
func (r *suiteReport) table(g *grid) {
	g.row("GROUP", "PASSED", "FAILED", "NOT RUN", "TIME OF ITS CASES")
	for _, group := range r.groups() {
		g.row(group.name, strconv.Itoa(group.count[conformance.Passed]), strconv.Itoa(group.count[conformance.Failed]),
			strconv.Itoa(group.count[conformance.NotRun]), seconds(group.took))
	}
	var out strings.Builder
	fmt.Fprintf(&out, "\n%s\n%s\n", printable(r.summary()), r.claims())
	for _, res := range r.Results {
		if res.Outcome == conformance.Failed {
			fmt.Fprintf(&out, "\nFAILED %s: %s\n", res.ID, res.Requirement)
			for _, line := range failureLines(res) {
				out.WriteString("  " + printable(line) + "\n")
			}
			fmt.Fprintf(&out, "  repeat: %s\n", printable(r.repeat(res.ID)))
		}
	}
	for _, left := range r.leftOut() {
		fmt.Fprintf(&out, "\nnot run, as %s:\n  %s\n", left.reason, strings.Join(left.ids, " "))
	}
	g.note = strings.TrimSuffix(out.String(), "\n")
}

// failureLines are the lines of a case's failures, without its requirement, which is said above.
func failureLines(res conformance.Result) []string {
	var lines []string
	for _, failure := range res.Failures {
		lines = append(lines, strings.Split(strings.TrimPrefix(failure, "required: "+res.Requirement+"\n"), "\n")...)
	}
	return lines
}

// leftOut is cases that were not run for one reason.
type leftOut struct {
	reason string
	ids    []string
}

func (r *suiteReport) leftOut() []*leftOut {
	var all []*leftOut
	byReason := map[string]*leftOut{}
	for _, res := range r.Results {
		if res.Outcome != conformance.NotRun {
			continue
		}
		l := byReason[res.Reason]
		if l == nil {
			l = &leftOut{reason: res.Reason}
			byReason[res.Reason], all = l, append(all, l)
		}
		l.ids = append(l.ids, res.ID)
	}
	return all
}
