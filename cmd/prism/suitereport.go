package main

// suitereport.go: the result of a run of the conformance suite for other programs: JUnit's XML for
// CI systems, Markdown for pages. JSON is the report's own form.

import (
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/prism/conformance"
)

// The elements of JUnit's format, as far as CI systems read them.
type (
	junitSuites struct {
		XMLName xml.Name `xml:"testsuites"`
		junitCounts
		Suites []junitSuite `xml:"testsuite"`
	}
	junitCounts struct {
		Name     string `xml:"name,attr"`
		Tests    int    `xml:"tests,attr"`
		Failures int    `xml:"failures,attr"`
		Skipped  int    `xml:"skipped,attr"`
		Time     string `xml:"time,attr"` // seconds
	}
	junitSuite struct {
		junitCounts
		Timestamp  string          `xml:"timestamp,attr"`
		Properties []junitProperty `xml:"properties>property"`
		Cases      []junitCase     `xml:"testcase"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		Time    string        `xml:"time,attr"`
		Failure *junitMessage `xml:"failure"`
		Skipped *junitMessage `xml:"skipped"`
		Out     string        `xml:"system-out,omitempty"`
	}
	junitMessage struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

func junitSeconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 3, 64) }

// writeJUnit writes a suite for each group.
func writeJUnit(w io.Writer, r *suiteReport) error {
	name := "prism conformance " + r.Backend
	all := junitSuites{junitCounts: junitCounts{
		Name: name, Tests: len(r.Results), Failures: r.Failed, Skipped: r.NotRun, Time: junitSeconds(r.Duration),
	}}
	for _, group := range r.groups() {
		suite := junitSuite{
			junitCounts: junitCounts{
				Name: group.name, Tests: len(group.results), Failures: group.count[conformance.Failed],
				Skipped: group.count[conformance.NotRun], Time: junitSeconds(group.took),
			},
			Timestamp: r.Started.Format("2006-01-02T15:04:05"),
			Properties: []junitProperty{
				{"backend", r.Backend},
				{"version", r.Version},
				{"contract", strconv.Itoa(r.Contract)},
				{"capabilities", strings.Join(r.Capabilities, ", ")},
				{"seed", strconv.FormatUint(r.Seed, 10)},
				{"command", r.Command},
			},
		}
		for _, res := range group.results {
			suite.Cases = append(suite.Cases, r.junitCase(res))
		}
		all.Suites = append(all.Suites, suite)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (r *suiteReport) junitCase(res conformance.Result) junitCase {
	group, name, _ := strings.Cut(res.ID, "/")
	c := junitCase{Name: name, Class: "conformance." + r.Backend + "." + group, Time: junitSeconds(res.Duration), Out: strings.Join(res.Log, "\n")}
	switch res.Outcome {
	case conformance.Failed:
		c.Failure = &junitMessage{Message: res.Requirement, Text: strings.Join(failureLines(res), "\n") + "\nrepeat: " + r.repeat(res.ID)}
	case conformance.NotRun:
		c.Skipped = &junitMessage{Message: "not run: " + res.Reason}
	case conformance.Passed:
	}
	return c
}

// writeMarkdown writes a table for each group, and below it what failed.
func writeMarkdown(w io.Writer, r *suiteReport) error {
	var out strings.Builder
	fmt.Fprintf(&out, "# Conformance of the backend %s %s\n\n%d passed, %d failed, %d not run, by prism %s (contract %d) on %s in %s; %s; %s.\n\n    %s\n",
		inCell(r.Backend), inCell(r.Version), r.Passed, r.Failed, r.NotRun, r.Prism, r.Contract, r.Started.Format(time.RFC3339), seconds(r.Duration), r.claims(), r.Random, printable(r.Command))
	for _, group := range r.groups() {
		fmt.Fprintf(&out, "\n## %s\n\n| case | profile | result | requirement |\n|---|---|---|---|\n", group.name)
		for _, res := range group.results {
			result := words(res.Outcome)
			if res.Outcome == conformance.NotRun {
				result += ": " + inCell(res.Reason)
			}
			if res.Random != nil {
				result += ": " + res.Random.String()
			}
			fmt.Fprintf(&out, "| `%s` | %s | %s | %s |\n", res.ID, res.Profile, result, inCell(res.Requirement))
		}
		for _, res := range group.results {
			if res.Outcome == conformance.Failed {
				fmt.Fprintf(&out, "\n`%s` failed:\n\n", res.ID)
				for _, line := range append(failureLines(res), "repeat: "+r.repeat(res.ID)) {
					out.WriteString("    " + printable(line) + "\n")
				}
			}
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// inCell is text within a line of a Markdown table.
func inCell(text string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "`", "'").Replace(printable(text))
}
