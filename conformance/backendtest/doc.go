// Package backendtest has what the tests of a backend need besides the suite: records, sessions
// and streams in few words, and what is asked of errors and options.
//
// Its functions end the test where something fails, so they are called from the test's own
// goroutine. What they open is closed with the test.
package backendtest
