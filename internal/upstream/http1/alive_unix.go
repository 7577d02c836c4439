//go:build unix

package http1

import "syscall"

// Supported says whether a connection can be looked at here before it is used.
const Supported = true

// alive says whether the server has neither closed the connection nor sent
// anything that nobody has asked for. Where that cannot be seen, it says no.
func (c *conn) alive() bool {
	if c.syscall == nil {
		return false
	}
	if c.peek == nil {
		c.peek = c.peekAt
	}
	c.quiet = false
	err := c.syscall.Control(c.peek) // Read would heed the deadline
	return err == nil && c.quiet
}

func (c *conn) peekAt(fd uintptr) {
	_, _, err := syscall.Recvfrom(int(fd), c.oneByte[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	c.quiet = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
}
