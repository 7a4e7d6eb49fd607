//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRunLeavesInGoodOrder(t *testing.T) {
	host := serve(t)
	p, line := start(t, "child", "run", "my-service", "--port", "8081", "--check", "none", "--drain-timeout", "1s", "--address", host.Address,
		"--", "sh", "-c", `trap 'echo child got TERM; exit 7' TERM INT; echo child $$; while :; do sleep 0.01; done`)
	require.NotEmpty(t, line)
	_, satisfied, err := host.Client.Wait(t.Context(), "my-service", 1)
	require.NoError(t, err)
	require.True(t, satisfied)
	var list struct {
		Instances []struct {
			TTL float64 `json:"ttl"`
		} `json:"instances"`
	}
	require.NoError(t, json.Unmarshal([]byte(host.prism("instances", "my-service", "-o", "json").out), &list))
	assert.InDelta(t, 15, list.Instances[0].TTL, 0)

	events, err := host.Client.Follow(t.Context(), discoveryOptions("my-service"))
	require.NoError(t, err)
	defer events.Close()
	p.Signal(syscall.SIGTERM)
	require.NoError(t, p.Cmd.Process.Signal(os.Interrupt), "two at once are one; which the system hands over first is open")
	item, err := events.Next(t.Context())
	require.NoError(t, err)
	assert.EqualValues(t, "stopping", item.Event.NewStatus, "first it is out of traffic")
	item, err = events.Next(t.Context())
	require.NoError(t, err)
	assert.EqualValues(t, "service_deregistered", item.Event.Type, "then it is deregistered")
	assert.Equal(t, 7, p.Wait(), "then the command is told to end, and its code is ours")
}

func TestRunPassesOtherSignalsAndASecondOneAtOnce(t *testing.T) {
	host := serve(t)
	p, line := start(t, "child", "run", "my-service", "--port", "8081", "--check", "none", "--drain-timeout", "600s", "--address", host.Address,
		"--", "sh", "-c", `trap 'echo passed >&2' USR1; trap '' TERM; echo child $$; while :; do sleep 0.01; done`)
	p.Signal(syscall.SIGUSR1)
	p.Until("the command got the signal", func(context.Context) bool { return strings.Contains(p.Stderr(), "passed") })
	events, err := host.Client.Follow(t.Context(), discoveryOptions("my-service"))
	require.NoError(t, err)
	defer events.Close()
	p.Signal(syscall.SIGTERM)
	_, err = events.Next(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 128+int(syscall.SIGTERM), p.Insist(syscall.SIGTERM))
	var pid int
	_, err = fmt.Sscanf(line, "child %d", &pid)
	require.NoError(t, err)
	p.Until("the command is gone", gone(pid))
}

// TestRunEndsAtOnceWhileItRegisters: nobody is held by a host that does not answer.
func TestRunEndsAtOnceWhileItRegisters(t *testing.T) {
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	p := begin(t, "run", "my-service", "--port", "8081", "--address", "http://"+ln.Addr().String(), "--", "echo", "it ran")
	conn, err := ln.Accept() // and no word more
	require.NoError(t, err)
	defer conn.Close()
	p.Signal(syscall.SIGUSR1)
	assert.Equal(t, 128+int(syscall.SIGTERM), p.End(syscall.SIGTERM))
	assert.Contains(t, p.Stderr(), "ended before the host at http://"+ln.Addr().String()+" had answered")
	assert.Empty(t, p.Stdout())
}
