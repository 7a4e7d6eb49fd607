package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

func setStatus(service, id, status, reason string) discovery.StatusRequest {
	return discovery.StatusRequest{Key: core.Key{Service: service, ID: id}, Status: status, Reason: reason}
}

func TestUsageIsExplained(t *testing.T) {
	for line, says := range map[string]string{
		"servces":                                    "did you mean services?",
		"plugin lst":                                 "did you mean list?",
		"config frobnicate":                          "prism config --help",
		"services extra":                             "takes no arguments",
		"nosuch --help":                              "there is no command \"nosuch\"; see prism --help",
		"plugin nosuch -h":                           "there is no command \"nosuch\"; see prism plugin --help",
		"help nosuch":                                "there is no command \"nosuch\"; see prism --help",
		"help plugin lst":                            "did you mean list?",
		"completion nosuch":                          "there is no command \"nosuch\"; see prism completion --help",
		"completion bash extra":                      "takes no arguments",
		"events --limit x":                           "invalid argument \"x\" for \"--limit\" flag; see prism events --help",
		"services --address 127.0.0.1:65536":         "address: \"127.0.0.1:65536\" is not allowed; its port is none; use 1–65535",
		"services --address http://h:0":              "use 1–65535",
		"plugin list --dir /no/such":                 "--dir: \"/no/such\" is not allowed; there is no such folder",
		"config validate --backend=":                 "--backend: backend: it is empty",
		"register api --port 1 --check-timeout x":    "check.timeout: \"x\" is not allowed; use a number of seconds",
		"register api --port 1 --deregister-after x": "check.deregister_after: ",
		"services --nosuch":                          "--nosuch",
		"services -o xml":                            "use table, json or yaml",
		"instances":                                  "SERVICE is missing; use prism instances SERVICE",
		"set-status api":                             "ID is missing",
		"deregister api one two":                     "takes SERVICE ID",
		"pick api --url --explain":                   "exclude one another",
		"heartbeat":                                  "LEASE is missing",
		"run":                                        "SERVICE is missing",
		"run api":                                    "COMMAND is missing",
		"run api --port 1 --":                        "COMMAND is missing",
		"run -- ./server":                            "SERVICE is missing",
		"run api extra -- ./server":                  "too much before --",
		"run api --drain-timeout x -- true":          "port: ",
		"events --limit 0":                           "limit: 0 is not allowed",
		"events --limit 1001":                        "1–1,000",
		"events --type nonsense":                     "service_registered",
		"wait api --min 0":                           "min: 0",
		"wait api --timeout 0":                       "timeout: ",
		"wait api --timeout soon":                    "timeout: ",
		"services --address ftp://x":                 "address: ",
		"services --address http://u:p@h":            "credentials",
		"set-status api id unknown":                  "cannot be set",
		"set-status api id asleep":                   "use up, healthy",
		"instances api --status asleep":              "status: ",
		"instances api --filter weight>":             "filter: ",
		"instances api --filter nosuch==1":           "filter: ",
		"pick api --filter 1+1":                      "filter: ",
		"instances api --tag a/b":                    "'/'",
		"register api --metadata @/no/such":          "cannot be read",
		"register api --from /no/such":               "cannot be read",
		"register api --endpoint x --port 1":         "name=scheme://host:port",
		"register api --endpoint x=y:z":              "name=scheme://host:port",
		"register api --port 1 --check-rise x":       "check.rise: ",
	} {
		t.Run(line, func(t *testing.T) {
			r := invoke(t.Context(), "", strings.Fields(line)...)
			assert.Equal(t, exitUsage, r.code, r.err)
			assert.Empty(t, r.out)
			assert.True(t, strings.HasPrefix(r.err, "prism: "), r.err)
			assert.Equal(t, 1, strings.Count(r.err, "\n"), "one sentence: %s", r.err)
			assert.Contains(t, r.err, says)
		})
	}
}

func TestRegistrationsThatCannotBe(t *testing.T) {
	w := newWorld(t)
	deep := strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100)
	for name, tc := range map[string]struct {
		args []string
		says string
	}{
		"port 0":               {[]string{"api", "--port", "0"}, "port: 0 is not allowed; use 1–65535"},
		"port 65536":           {[]string{"api", "--port", "65536"}, "port: 65536 is not allowed; use 1–65535"},
		"port abc":             {[]string{"api", "--port", "abc"}, "port: \"abc\" is not allowed; use 1–65535"},
		"port 1.5":             {[]string{"api", "--port", "1.5"}, "port: \"1.5\" is not allowed"},
		"port missing":         {[]string{"api"}, "port: it is missing"},
		"name empty":           {[]string{"", "--port", "1"}, "service: it is empty"},
		"name of 129":          {[]string{strings.Repeat("x", 129), "--port", "1"}, "129 bytes"},
		"name with slash":      {[]string{"a/b", "--port", "1"}, "'/'"},
		"name with NUL":        {[]string{"a\x00b", "--port", "1"}, `'\x00'`},
		"name with star":       {[]string{"a*", "--port", "1"}, "'*'"},
		"name with angle":      {[]string{"a>b", "--port", "1"}, "'>'"},
		"name with dots":       {[]string{"..", "--port", "1"}, "'.' at position 1"},
		"id with slash":        {[]string{"api", "--port", "1", "--id", "a/b"}, "id: "},
		"IPv6 zone":            {[]string{"api", "--port", "1", "--host", "fe80::1%eth0"}, "zone"},
		"metadata of 70 KiB":   {[]string{"api", "--port", "1", "--metadata", `{"a":"` + strings.Repeat("x", 70<<10) + `"}`}, "64 KiB"},
		"metadata too deep":    {[]string{"api", "--port", "1", "--metadata", deep}, "32 levels"},
		"metadata twice":       {[]string{"api", "--port", "1", "--metadata", `{"a":1,"a":2}`}, "name each key once"},
		"metadata no object":   {[]string{"api", "--port", "1", "--metadata", `[1]`}, "use a JSON object"},
		"metadata no JSON":     {[]string{"api", "--port", "1", "--metadata", `{a`}, "not valid JSON"},
		"weight -1":            {[]string{"api", "--port", "1", "--weight", "-1"}, "weight: -1 is not allowed; use 0–65,535"},
		"weight 70000":         {[]string{"api", "--port", "1", "--weight", "70000"}, "weight: 70000 is not allowed"},
		"ttl 0":                {[]string{"api", "--port", "1", "--ttl", "0"}, "use 2 to 86,400 seconds"},
		"ttl -1":               {[]string{"api", "--port", "1", "--ttl", "-1"}, "use 2 to 86,400 seconds"},
		"ttl 1":                {[]string{"api", "--port", "1", "--ttl", "1"}, "use 2 to 86,400 seconds"},
		"ttl 1e12":             {[]string{"api", "--port", "1", "--ttl", "1e12"}, "ttl: "},
		"ttl soon":             {[]string{"api", "--port", "1", "--ttl", "soon"}, "ttl: "},
		"foreign health URL":   {[]string{"api", "--port", "1", "--health-url", "http://192.0.2.1/health"}, "own host"},
		"exec check":           {[]string{"api", "--port", "1", "--check", "exec"}, "check.command"},
		"check of no kind":     {[]string{"api", "--port", "1", "--check", "psychic"}, "use http, tcp, grpc, exec or none"},
		"status":               {[]string{"api", "--port", "1", "--status", "asleep"}, "status: "},
		"keepalive":            {[]string{"api", "--port", "1", "--keepalive", "maybe"}, "use auto or client"},
		"unknown field":        {[]string{"api", "--from", "{\"host\":\"h\",\"port\":1,\"wieght\":5}"}, "wieght: there is no such field"},
		"unknown check field":  {[]string{"api", "--from", "{\"host\":\"h\",\"port\":1,\"check\":{\"intervall\":5}}"}, "intervall"},
		"another service":      {[]string{"api", "--from", "{\"service\":\"b\",\"host\":\"h\",\"port\":1}"}, "leave it out"},
		"null in the file":     {[]string{"api", "--port", "1", "--from", "null"}, "not a JSON object, but null"},
		"no check in the file": {[]string{"api", "--check-fall", "3", "--from", "{\"host\":\"h\",\"port\":1,\"check\":[]}"}, "check"},
		"no JSON in the file":  {[]string{"api", "--from", "port: 1"}, "not a JSON object"},
		"metadata in the file": {[]string{"api", "--from", "{\"host\":\"h\",\"port\":1,\"metadata\":{\"a\":1,\"a\":2}}"}, "name each key once"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"register"}, tc.args...)
			if at := len(args) - 1; args[at-1] == "--from" {
				file := filepath.Join(t.TempDir(), "spec.json")
				require.NoError(t, os.WriteFile(file, []byte(args[at]), 0o600))
				args[at] = file
			}
			r := w.prism(args...)
			assert.Equal(t, exitUsage, r.code, r.err)
			assert.Contains(t, r.err, tc.says)
			assert.Less(t, len(r.err), 400, "a message does not repeat what was given in full")
		})
	}
	assert.Equal(t, "SERVICE  INSTANCES  HEALTHY\n", w.must("services").out, "nothing was registered")
}

func TestWhatIsNotThere(t *testing.T) {
	w := newWorld(t)
	w.register("api", "--status", "maintenance")
	for line, want := range map[string]struct {
		code int
		says string
	}{
		"pick nobody":                            {exitNotFound, "prism services"},
		"pick nobody --explain":                  {exitNotFound, "nobody"},
		"deregister api nobody":                  {exitNotFound, "nobody"},
		"deregister nobody nobody":               {exitNotFound, "nobody"},
		"set-status api nobody up":               {exitNotFound, "nobody"},
		"drain api nobody":                       {exitNotFound, "nobody"},
		"check api nobody":                       {exitNotFound, "nobody"},
		"pick api":                               {exitUnavailable, "--explain"},
		"wait api --timeout 0.05":                {exitUnavailable, "0 of 1"},
		"pick api --endpoint metrics":            {exitUnavailable, "--explain"},
		"register api --port 8081 --create-only": {exitFailed, "conflict"},
		"heartbeat prism1.nonsense":              {exitFailed, "heartbeat of -"},
		"events --follow --limit 3":              {exitUsage, "leave one of them out"},
		"plugin info nosuch":                     {exitNotFound, "nosuch"},
		"plugin verify ./nosuch":                 {exitNotFound, "there is no plugin ./nosuch; give its path, or a name that"},
		"pick api --policy maglev":               {exitUsage, "maglev"},
		"run api --port 1 -- no-such-program":    {exitNotFound, "give its path"},
	} {
		t.Run(line, func(t *testing.T) {
			r := w.prism(strings.Fields(line)...)
			assert.Equal(t, want.code, r.code, r.err)
			assert.Contains(t, r.err, want.says)
		})
	}
}

func TestAWaitSaysHowManyThereWere(t *testing.T) {
	w := newWorld(t)
	w.register("api")
	r := w.prism("wait", "api", "--min", "2", "--timeout", "0.05")
	assert.Equal(t, exitUnavailable, r.code)
	assert.Contains(t, r.err, "after 50ms service api has 1 of 2")
}

func TestATokenThatNoHeaderCanHoldIsRefusedAndNotShown(t *testing.T) {
	for _, args := range [][]string{{"--token", "hunter\n2"}, {}} {
		t.Setenv(envToken, "hunter\r2")
		r := invoke(t.Context(), "", append(args, "services", "--address", "http://127.0.0.1:1")...)
		assert.Equal(t, exitUsage, r.code)
		assert.Contains(t, r.err, "prism: token: a line break")
		assert.NotContains(t, r.err, "hunter")
	}
}

func TestAWrongLeaseDoesNothing(t *testing.T) {
	w := newWorld(t)
	lease := w.register("api")
	other := w.register("other")
	for _, wrong := range []string{"nonsense", lease[:len(lease)-4] + "AAAA", other} {
		for _, args := range [][]string{
			{"deregister", "api", "api-127.0.0.1-8081", "--lease", wrong},
			{"set-status", "api", "api-127.0.0.1-8081", "stopping", "--lease", wrong},
		} {
			r := w.prism(args...)
			assert.NotZero(t, r.code)
			assert.NotContains(t, r.err, wrong)
		}
	}
	assert.Contains(t, w.must("instances", "api").out, "healthy")
}

func TestNoHost(t *testing.T) {
	for _, line := range []string{
		"services", "instances a", "pick a", "wait a", "watch", "events", "events -f", "register a --port 1", "deregister a b", "heartbeat x",
		"drain a b", "restore a b", "set-status a b up", "check a b", "status", "run a --port 1 -- true",
	} {
		args := strings.Fields(line)
		at := []string{"--address", "http://127.0.0.1:1"}
		r := invoke(t.Context(), "", append(append([]string{args[0]}, at...), args[1:]...)...)
		assert.Equal(t, exitUnavailable, r.code, line)
		assert.Equal(t, "prism: cannot reach a host at http://127.0.0.1:1: connection refused; start one with \"prism serve\", "+
			"or name another with --address or PRISM_ADDRESS\n", r.err, line)
	}
}
