// Command prism is the host and the command line of Prism: "prism serve" runs a host with a
// backend of one's choice, the other commands talk to one.
//
// Each command stands in a file of its own; what they share is in app.go, connect.go and
// output.go. serve.go begins the host, wiring.go holds what it consists of.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
