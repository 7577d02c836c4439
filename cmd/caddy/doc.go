// Command caddy is a Caddy with the WeChat modules. What it holds is said in
// xcaddy.json; main.go is generated from that.
package main

//go:generate go run ./generate ../../xcaddy.json main.go
