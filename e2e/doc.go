// Package e2e tests the proxy from outside: a Caddy process, started from a
// Caddyfile, between an HTTP client and a WeChat of the test's own.
package e2e
