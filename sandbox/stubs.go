package sandbox

import "net/http"

type (
	component     struct{}
	apiSecurity   struct{}
	authorization struct{}
	Component     struct{}
)

func (c *call) seal(_ http.Header, b []byte) []byte { return b }
func (c *call) unsealLocked(*route) error           { return nil }
func componentRoutes() []route                      { return nil }
