// Package backendkit holds what several backends need and a third party's may use: everything
// of a backend that is the same whatever the store is.
//
// A backend over a store with a compare-and-set of its own (a transaction, a script, an
// expected sequence) is then small:
//
//   - Apply carries out a batch of mutations over a Table, which the backend implements with
//     two methods: Load reads keys, Commit writes those that did not change since. Decide,
//     which it calls, holds the contract's rules in one pure function. ApplyGuessing creates
//     records without the look before. Get reads records over the same Table;
//   - Closing refuses operations from Close on, Each has many requests of one call under way,
//     HasSentinel and Unanswered turn a client's errors into those of package ports;
//   - Encode and Decode are the stored form of records and tombstones, JSON that people can
//     read with the store's own tools. Fields that this version does not know are kept;
//   - Feed is a ports.Watcher that a goroutine of the backend fills; Feeds owns all of a
//     backend's feeds;
//   - Escape writes names where a store allows fewer characters;
//   - Endpoints and TLS read the options that all stores have, with errors that say what to do.
//
// Nothing here knows any store. plugins/memory uses Decide too, so all backends agree.
package backendkit
