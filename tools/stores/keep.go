package stores

// keep.go: data as it once was, for stores that lost writes or were restored.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

func (n *node) keptDir() string { return filepath.Join(n.dir, "kept") }

// KeepData copies the data of a store that was stopped, for RevertData.
func (c *Cluster) KeepData() error {
	return c.stopped("its data is kept", func(n *node) error {
		return errors.Join(os.RemoveAll(n.keptDir()), os.CopyFS(n.keptDir(), os.DirFS(n.dataDir())))
	})
}

// RevertData gives a store that was stopped the data that KeepData found: it lost all that was
// written since, as after an unclean stop or the restoring of a backup.
func (c *Cluster) RevertData() error {
	return c.stopped("its data is reverted", func(n *node) error {
		if _, err := os.Stat(n.keptDir()); err != nil {
			return fmt.Errorf("nothing was kept: %w", err)
		}
		return errors.Join(os.RemoveAll(n.dataDir()), os.CopyFS(n.dataDir(), os.DirFS(n.keptDir())))
	})
}

// stopped does something to the data of each node, none of which may run.
func (c *Cluster) stopped(what string, do func(*node) error) error {
	if pids := c.PIDs(); len(pids) > 0 {
		return fmt.Errorf("%s runs (%v): stop it before %s", c.kind, pids, what)
	}
	return c.each(c.nodes, do)
}
