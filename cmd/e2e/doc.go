// Package e2e holds no code: its tests run the program with each plugin over real stores, as
// people do, and look at what several hosts make of one store. What one backend does by itself is
// the conformance suite's to show.
package e2e
