package main

import "syscall"

// processAttributes ask a program to end with this one, however that ends. It is
// not killed, since nginx has processes of its own to end.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}
