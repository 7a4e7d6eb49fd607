package probe

// exec.go: a command whose exit status is the result.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/marketprism/prism/ports"
)

// killDelay is what a command's output may take to end after it was killed.
const killDelay = 100 * time.Millisecond

// passedOn are the environment variables that a command gets. It gets no others, since those
// of a host hold secrets.
func passedOn() []string {
	var env []string
	for _, name := range []string{
		"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR",
		"SystemRoot", "SystemDrive", "ComSpec", "PATHEXT", "TEMP", "TMP", "USERPROFILE", // Windows
	} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// probeExec runs the check's command; exit status 0 is healthy. When the time is up, it is
// killed together with what it started. Only the program's name is shown, not its arguments.
func (p *Prober) probeExec(ctx context.Context, a attempt) ports.ProbeResult {
	if len(a.in.Check.Command) == 0 {
		return ports.ProbeResult{Detail: "check.command is empty; name a program and its arguments"}
	}
	name := short(filepath.Base(a.in.Check.Command[0]), 100)
	cmd := exec.CommandContext(ctx, a.in.Check.Command[0], a.in.Check.Command[1:]...)
	cmd.Env, cmd.WaitDelay = passedOn(), killDelay
	var out head
	cmd.Stdout, cmd.Stderr = &out, &out
	killTogether(cmd)
	err := cmd.Run()
	said := ""
	if text := short(string(out.kept), 200); text != "" {
		said = ": " + text
	}
	switch failed, exited := errors.AsType[*exec.ExitError](err); {
	case err == nil, errors.Is(err, exec.ErrWaitDelay): // the latter when it left somebody behind who holds its output
		return ports.ProbeResult{Healthy: true, Detail: fmt.Sprintf("%s passed %s%s", name, a.took(), said)}
	case ctx.Err() != nil:
		return ports.ProbeResult{Detail: fmt.Sprintf("%s did not end within %s and was killed", name, a.timeout)}
	case exited:
		return ports.ProbeResult{Detail: fmt.Sprintf("%s failed with %s %s%s", name, failed.ProcessState, a.took(), said)}
	default:
		return ports.ProbeResult{Detail: fmt.Sprintf("%s cannot be run: %s", name, oneLine(err))}
	}
}

// head keeps the first bytes that are written to it.
type head struct{ kept []byte }

// Write implements io.Writer.
func (h *head) Write(b []byte) (int, error) {
	const most = 1 << 10
	h.kept = append(h.kept, b[:min(len(b), most-len(h.kept))]...)
	return len(b), nil
}
