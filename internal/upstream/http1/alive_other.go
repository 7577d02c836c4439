//go:build !unix

package http1

// Supported says whether a connection can be looked at here before it is used.
const Supported = false

func (c *conn) alive() bool { return false }
