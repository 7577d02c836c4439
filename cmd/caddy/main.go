package main

import (
	_ "time/tzdata"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	// plug in Caddy modules here
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/caddy-weixin/caddy-weixin"
	_ "github.com/caddy-weixin/caddy-weixin/sandbox"
)

func main() {
	caddycmd.Main()
}
