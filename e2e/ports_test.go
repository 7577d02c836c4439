package e2e

import (
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
)

// nextPort is below the ports that systems hand out to whoever asks for any, so
// that nobody else takes one between its choice and its use.
var nextPort atomic.Int32

// freePort returns a port that no other call returns.
func freePort(t *testing.T) int {
	t.Helper()
	nextPort.CompareAndSwap(0, 20_000+int32(os.Getpid()%8_000))
	for range 1000 {
		port := int(nextPort.Add(1))
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		l.Close()
		return port
	}
	t.Fatal("there is no free port")
	return 0
}

// listensTwice reports whether an address has two listeners. After a reload the old
// one drops what it has accepted last, so it has to be gone before a request is
// sent that must not be lost.
func listensTwice(t *testing.T) bool {
	t.Helper()
	seen := make(map[string]bool)
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		data, err := os.ReadFile(table)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			const local, state, listen = 1, 3, "0A"
			fields := strings.Fields(line)
			if len(fields) <= state || fields[state] != listen {
				continue
			}
			if seen[fields[local]] {
				return true
			}
			seen[fields[local]] = true
		}
	}
	return false
}
