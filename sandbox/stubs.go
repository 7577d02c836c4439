package sandbox

import "net/http"

type apiSecurity struct{}

func (c *call) seal(_ http.Header, b []byte) []byte { return b }
func (c *call) unsealLocked(*route) error           { return nil }
