package pluginhost_test

// playhost_test.go: the test binary as a host that is going to be killed.

import (
	"context"
	"encoding/json"
	"os"
	"strconv"

	"github.com/marketprism/prism/adapters/pluginhost"
)

// varLaunch is the host's Launch as JSON.
const varLaunch = "PRISM_TEST_LAUNCH"

// playHost opens the plugin that the environment describes, says so, and waits to be killed.
// With a command it gives the plugin that order first and does not wait for the answer.
func playHost() {
	var l pluginhost.Launch
	if err := json.Unmarshal([]byte(os.Getenv(varLaunch)), &l); err != nil {
		panic(err)
	}
	command := os.Args[1]
	if command == "open" { // The kill comes while Open is under way.
		say("0\n")
	}
	h, err := pluginhost.Open(context.Background(), l)
	if err != nil {
		panic(err)
	}
	answer := strconv.Itoa(h.Status().PID)
	switch command {
	case "":
	case "child":
		if answer, err = order(context.Background(), h, command); err != nil {
			panic(err)
		}
	default:
		go func() { _, _ = order(context.Background(), h, command) }()
	}
	say(answer + "\n")
	select {}
}
