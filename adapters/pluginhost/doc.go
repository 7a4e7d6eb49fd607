// Package pluginhost runs backends that are separate processes. It finds a plugin's binary,
// verifies it, launches it over hashicorp/go-plugin (gRPC, AutoMTLS), hands it its options,
// and supervises it: a process that dies or hangs is replaced, and whoever uses the backend
// sees ports.ErrUnavailable until the next one is open.
//
// A plugin is a trusted program that runs with the rights of its host. What this package
// guards against are faults: binaries that are no plugins, processes that hang, die or flood
// their logs, and hosts that are killed. It does not sandbox.
//
// Four rules hold everywhere here. No wait on a process is without a limit, since
// go-plugin's own calls have none: whoever waits has a timer that kills the whole process
// group. A process never outlives its host: its standard input is a pipe from the host, and
// end of file ends it. A call is bound to one process: when that process dies the call
// fails, and nothing that it still says is taken for the words of its successor. And no
// value of a secret option is ever logged or put into an error.
package pluginhost
