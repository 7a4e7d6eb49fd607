package main

// take.go: what "go test -json" tells of a run.

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/marketprism/prism/conformance"
)

const (
	// launchedTest and randomTest are the names that every backend gives the tests of its
	// launched binary and of what is in this process, where the random cases are fastest.
	launchedTest = "TestConformanceLaunched"
	randomTest   = "TestConformanceInProcess"
	// serverIs begins what package stores logs of a server: stores.ServerIs.
	serverIs = "the server is "
)

// heard is what came of one test.
type heard struct {
	server   string
	date     string // of the last line
	outcomes map[string]conformance.Outcome
	random   randomRun
}

// take replaces what is known by what standard input tells.
func (r *results) take(what from, stdin io.Reader) error {
	test := launchedTest
	if what.random {
		test = randomTest
	}
	got, err := listen(stdin, test)
	if err != nil {
		return err
	}
	if what.random {
		got.random.Date, got.random.Server = got.date, got.server
		r.Random[what.backend] = got.random
		return nil
	}
	if !what.other {
		r.Backends[what.backend] = got.outcomes
	}
	if got.server == "" { // memory has none
		return nil
	}
	of := serverRun{Backend: what.backend, Server: got.server, Date: got.date}
	for _, c := range conformance.Cases() {
		switch got.outcomes[c.ID] {
		case conformance.Passed:
			of.Passed++
		case conformance.Failed:
			of.Failed++
		default:
			of.NotRun++
		}
	}
	r.Servers = append(slices.DeleteFunc(r.Servers, func(s serverRun) bool { return s.Backend == of.Backend && s.Server == of.Server }), of)
	return nil
}

// listen reads what "go test -json" wrote of a test. A case that began and has no end, as when the
// process died, has failed.
func listen(r io.Reader, test string) (heard, error) {
	outcomes := map[string]conformance.Outcome{"run": conformance.Failed, "pass": conformance.Passed, "fail": conformance.Failed, "skip": conformance.NotRun}
	ids := map[string]string{} // by the name of the test
	for _, c := range conformance.Cases() {
		ids[test+"/"+string(c.Profile)+"/"+c.ID] = c.ID
	}
	got := heard{outcomes: map[string]conformance.Outcome{}}
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		var event struct{ Action, Test, Time, Output string }
		if json.Unmarshal(line, &event) == nil {
			got.date, _, _ = strings.Cut(event.Time, "T")
			id := ids[event.Test]
			_, version, isServer := strings.Cut(event.Output, serverIs)
			random, isRandom := conformance.ParseRandom(event.Output)
			switch {
			case event.Test == test && isServer:
				got.server = strings.TrimSpace(version)
			case id != "" && isRandom:
				got.random.Random = got.random.Add(random)
			case id != "" && outcomes[event.Action] != "":
				got.outcomes[id] = outcomes[event.Action]
				got.random.count(event.Action)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return heard{}, err
		}
	}
	if len(got.outcomes) == 0 {
		return heard{}, fmt.Errorf("standard input tells of no case of %s; give it the output of go test -json", test)
	}
	return got, nil
}

// count takes a case for failed from its beginning until it passes.
func (r *randomRun) count(action string) {
	switch action {
	case "run":
		r.Cases, r.Failed = r.Cases+1, r.Failed+1
	case "pass":
		r.Failed--
	}
}
