// Package upstream holds the connections to the WeChat API: where it is, and
// what requests are sent with.
package upstream

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/upstream/http1"
)

const (
	dialTimeout         = 10 * time.Second
	tlsHandshakeTimeout = 10 * time.Second
	idleConnTimeout     = 90 * time.Second
	maxIdleConns        = 1024

	// maxResponseHeader is how many bytes the header of an answer may have, and
	// maxResponseFields how many fields, each of which takes many times its
	// bytes.
	maxResponseHeader = 1 << 20
	maxResponseFields = 1000

	// warmFor is how long a connection is kept ready for the next request. An
	// application that calls now and then does not wait for handshakes, and
	// WeChat sees one connection a minute or so from a proxy that is in use.
	warmFor = 15 * time.Minute
)

// Round trippers, as they are called in the configuration.
const (
	// HTTP1 is the package http1.
	HTTP1 = "http1"

	// NetHTTP is the standard library's, without HTTP/2.
	NetHTTP = "net_http"
)

// defaultRoundTripper is a variable so that a build for tests can have another.
var defaultRoundTripper = HTTP1

// RoundTripper sends requests to an upstream and keeps connections to it. It
// sends none again that the upstream may have processed.
type RoundTripper interface {
	http.RoundTripper
	CloseIdleConnections()

	// Close closes the connections that nobody uses, has none be kept from now
	// on, and none be opened but for requests that are still under way.
	Close()
}

// NewRoundTripper returns the round tripper of the given name, with what base
// says about connections.
//
// Every request has a connection of its own, so that a large upload or download
// holds up no other, and the bytes on the wire are those of the documentation.
func NewRoundTripper(name string, base *http.Transport) (RoundTripper, error) {
	if name == "" {
		name = defaultRoundTripper
	}
	switch {
	case name == HTTP1 && http1.Supported:
		return &http1.Transport{
			Proxy:                 base.Proxy,
			Fallback:              &netHTTP{Transport: base},
			DialContext:           base.DialContext,
			TLSClientConfig:       base.TLSClientConfig,
			TLSHandshakeTimeout:   base.TLSHandshakeTimeout,
			ResponseHeaderTimeout: base.ResponseHeaderTimeout,
			IdleConnTimeout:       base.IdleConnTimeout,
			MaxIdleConnsPerHost:   base.MaxIdleConnsPerHost,
			WarmFor:               warmFor,

			MaxResponseHeaderBytes: maxResponseHeader,
			MaxResponseFields:      maxResponseFields,
		}, nil
	case name == HTTP1, name == NetHTTP:
		return &netHTTP{Transport: base}, nil
	}
	return nil, CheckRoundTripper(name)
}

// CheckRoundTripper refuses names that are none of a round tripper.
func CheckRoundTripper(name string) error {
	switch name {
	case "", HTTP1, NetHTTP:
		return nil
	case "http2":
		return errors.New("round_tripper http2 is gone, as WeChat gains nothing by it: write http1 or net_http, or leave it out")
	}
	return fmt.Errorf("unknown round_tripper %s: write http1 or net_http", name)
}

// NewTransport returns the standard library's transport to WeChat, with
// HTTP/1.1. headerTimeout is how long it waits for an answer's header once the
// request is sent; 0 is for ever.
func NewTransport(headerTimeout time.Duration) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: dialOwn(dialer.DialContext),
		Protocols:   protocols,
		TLSClientConfig: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			ClientSessionCache: tls.NewLRUClientSessionCache(64),
			// Small records help who shows what has come so far. Requests are not shown.
			DynamicRecordSizingDisabled: true,
		},
		TLSHandshakeTimeout:   tlsHandshakeTimeout,
		ResponseHeaderTimeout: headerTimeout,
		// Its own default is ten times as much.
		MaxResponseHeaderBytes: maxResponseHeader,
		MaxIdleConns:           maxIdleConns,
		MaxIdleConnsPerHost:    maxIdleConns,
		IdleConnTimeout:        idleConnTimeout,
		DisableCompression:     true, // answers are passed on as they are
		ForceAttemptHTTP2:      false,
		WriteBufferSize:        16 << 10,
		ReadBufferSize:         16 << 10,
	}
}
