package pluginrpc

// group_windows.go: on Windows the job that the host puts a plugin into ends with the host, and
// everything in it.

func endGroup() {}
