//go:build unix

package pluginhost_test

// orphan_unix_test.go: a host that is killed leaves no plugin behind. The hosts here are
// processes of their own.

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/pluginhost"
)

// orphanLimit is how long a plugin may outlive its host.
const orphanLimit = 2 * time.Second

func TestKilledHostLeavesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		command string
		options map[string]any
		stop    bool // the plugin is stopped when its host dies
	}{
		"idle":           {},
		"stuck in Close": {options: map[string]any{"close": "hang"}},
		"stuck in calls": {command: "hang"},
		"busy":           {command: "spin"},
		"flooding":       {command: "flood raw"},
		"stopped":        {stop: true},
		"stuck in Open":  {command: "open", options: map[string]any{"open": "hang"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, rolePlugin, c.options)
			host, pid := startHost(t, f, c.command)
			var plugin *tied
			if pid == 0 {
				plugin = tether.find(t, "the plugin", func(p *tied) bool { return p.role == rolePlugin && p.alive() })
				require.Eventually(t, func() bool { return len(rooms(t, f.RuntimeDir)) == 1 }, patience, time.Millisecond)
			} else {
				plugin = tether.byPID(t, pid)
			}
			if c.stop {
				pluginhost.Halt(t, plugin.pid)
			}
			require.NoError(t, host.Process.Kill())
			began := time.Now()
			plugin.mustEnd(t, orphanLimit)
			t.Log("the plugin outlived its host by", time.Since(began))
			_ = host.Wait()

			// The next host sweeps what is left.
			assert.Len(t, rooms(t, f.RuntimeDir), 1)
			f.Options = nil
			require.NoError(t, f.open(t).Close())
			assert.Empty(t, rooms(t, f.RuntimeDir))
		})
	}
}

// A descendant in the plugin's group goes with it: a living host kills the group
// (TestDescendantHoldsPipes), and the plugin does when it has none any more.
func TestKilledHostLeavesNoDescendant(t *testing.T) {
	for name, options := range map[string]map[string]any{
		"plugin closes its backend": nil,
		"plugin is stuck in Close":  {"close": "hang"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, rolePlugin, options)
			host, pid := startHost(t, f, "child")
			child := tether.byPID(t, pid)
			plugin := tether.find(t, "the plugin", func(p *tied) bool { return p.role == rolePlugin && p.alive() })
			require.NoError(t, host.Process.Kill())
			began := time.Now()
			child.mustEnd(t, orphanLimit)
			t.Log("the descendant outlived the host by", time.Since(began))
			plugin.mustEnd(t, orphanLimit)
			_ = host.Wait()
			f.Options = nil
			require.NoError(t, f.open(t).Close(), "the next host sweeps the room")
		})
	}
}

// startHost starts a host that gives its plugin a command, and returns the process id that it
// said.
func startHost(t *testing.T, f *fixture, command string) (*exec.Cmd, int) {
	t.Helper()
	l := f.Launch
	launch, err := json.Marshal(struct {
		Path, Name, RuntimeDir string
		Options                json.RawMessage
		Env                    []string
	}{l.Path, l.Name, l.RuntimeDir, l.Options, l.Env})
	require.NoError(t, err)
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), exe, command)
	cmd.Env = append(os.Environ(), varRole+"="+roleHost, varLaunch+"="+string(launch),
		varTether+"="+tether.listener.Addr().String())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	pid, err := strconv.Atoi(line[:len(line)-1])
	require.NoError(t, err)
	return cmd, pid
}
