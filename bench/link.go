package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// link is a way to a network namespace that takes time.
type link struct {
	how       string
	near, far string   // addresses of its ends
	enter     []string // the command before one that is to run there
	closers   []func()
}

// linkAddresses returns two addresses of the network that is set apart for
// benchmarks, other ones in every process.
func linkAddresses(pid int) (near, far string) {
	pair := pid % (1 << 14) * 4
	address := func(n int) string { return fmt.Sprintf("198.18.%d.%d", n>>8, n&0xff) }
	return address(pair + 1), address(pair + 2)
}

// close undoes everything, the last thing first.
func (l *link) close() {
	for _, undo := range slices.Backward(l.closers) {
		undo()
	}
	l.closers = nil
}

// packet is one under way.
type packet struct {
	data []byte
	due  time.Time
}

// pump carries packets in one direction, each for as long as the delay. It
// returns when a packet cannot be read any more.
func pump(from io.Reader, to io.Writer, delay time.Duration) {
	const maxPacket = 64 << 10
	underWay := make(chan packet, 8192)
	defer close(underWay)
	go func() {
		for p := range underWay {
			time.Sleep(time.Until(p.due))
			_, _ = to.Write(p.data) // a packet may be lost
		}
	}()
	buf := make([]byte, maxPacket)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		p := packet{data: append([]byte(nil), buf[:n]...), due: time.Now().Add(delay)}
		select {
		case underWay <- p:
		default: // as a router does that has no room
		}
	}
}
