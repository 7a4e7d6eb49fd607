// Package core holds the model of service discovery: what an instance is, what
// states it can be in, how it is named, filtered and identified.
//
// Everything here is a plain value. Values that are handed out (Instance, Tags,
// Metadata, Endpoints, Filter) are immutable and safe for concurrent use; nothing
// in this package starts a goroutine, reads a clock or does I/O.
//
// Embedding programs import package discovery or prism, which alias these types;
// backends import this package for the names in their contract (package ports).
package core
