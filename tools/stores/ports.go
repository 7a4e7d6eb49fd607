package stores

// ports.go: free ports on loopback.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

const loopback = "127.0.0.1"

// Ports are taken from below those that systems give to outgoing connections (Linux begins at
// 32768): a client that dials a stopped server's port from that range connects, sooner or later,
// to itself, and any other client's connection may hold it when the server comes back.
const firstPort, lastPort = 20000, 32000

// usualPorts are those that the stores' own documentation uses.
var usualPorts = map[Kind]int{Consul: 8500, Etcd: 2379, NATS: 4222, Redis: 6379}

// given are the ports that are in use here, if only by a server that is down and will be back: no
// other is to stand there then.
var given struct {
	mu    sync.Mutex
	ports map[int]bool // guarded by mu
}

// freePort returns a port that nothing listened on a moment ago, by TCP or UDP. It is not given
// again before it is released.
func freePort() (int, error) {
	given.mu.Lock()
	defer given.mu.Unlock()
	var last error
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if given.ports[port] {
			continue
		}
		if last = probe(port); last == nil {
			if given.ports == nil {
				given.ports = make(map[int]bool)
			}
			given.ports[port] = true
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port between %d and %d on %s: %w", firstPort, lastPort, loopback, cmp.Or(last, errPortTaken))
}

// release gives ports back that are needed no more.
func release(ports ...int) {
	given.mu.Lock()
	defer given.mu.Unlock()
	for _, port := range ports {
		delete(given.ports, port)
	}
}

func probe(port int) error {
	var config net.ListenConfig
	tcp, err := config.Listen(context.Background(), "tcp", address(port))
	if err != nil {
		return err
	}
	udp, err := config.ListenPacket(context.Background(), "udp", address(port))
	if err != nil {
		return errors.Join(err, tcp.Close())
	}
	return errors.Join(udp.Close(), tcp.Close())
}

func address(port int) string { return net.JoinHostPort(loopback, strconv.Itoa(port)) }
