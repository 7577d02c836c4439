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
	alive := false
	err := c.syscall.Control(func(fd uintptr) { // Read would heed the deadline
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		alive = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
	})
	return err == nil && alive
}
