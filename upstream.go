package weixin

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/upstream/http1"
)

// defaultUpstream is where the WeChat API is.
const defaultUpstream = "https://api.weixin.qq.com"

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
	// roundTripperHTTP1 is the package http1.
	roundTripperHTTP1 = "http1"

	// roundTripperNetHTTP is the standard library's, without HTTP/2.
	roundTripperNetHTTP = "net_http"

	// roundTripperHTTP2 is the standard library's, with HTTP/2 where the
	// upstream has it.
	roundTripperHTTP2 = "http2"
)

// defaultRoundTripper is a variable so that a build for tests can have another.
var defaultRoundTripper = roundTripperHTTP1

// roundTripper sends requests to an upstream and keeps connections to it. It
// sends none again that the upstream may have processed.
type roundTripper interface {
	http.RoundTripper
	CloseIdleConnections()

	// Close closes the connections that nobody uses, has none be kept from now
	// on, and none be opened but for requests that are still under way.
	Close()
}

// newRoundTripper returns the round tripper of the given name, with what base
// says about connections.
//
// But for http2, every request has a connection of its own, so that a large
// upload or download holds up no other, and the bytes on the wire are those of
// the documentation.
func newRoundTripper(name string, base *http.Transport) (roundTripper, error) {
	if name == "" {
		name = defaultRoundTripper
	}
	switch {
	case name == roundTripperHTTP1 && http1.Supported:
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
	case name == roundTripperHTTP1, name == roundTripperNetHTTP:
		return &netHTTP{Transport: base}, nil
	case name == roundTripperHTTP2:
		base.Protocols.SetHTTP2(true)
		return &netHTTP2{netHTTP: netHTTP{Transport: base}}, nil
	}
	return nil, fmt.Errorf("unknown round_tripper %s: write http1, net_http or http2", name)
}

// newUpstreamTransport returns the standard library's transport to WeChat, with
// HTTP/1.1. headerTimeout is how long it waits for an answer's header once the
// request is sent; 0 is for ever.
func newUpstreamTransport(headerTimeout time.Duration) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: dialer.DialContext,
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

// parseUpstream returns the URL that paths are appended to.
func parseUpstream(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" {
		return nil, errors.New("is no URL: write it with scheme and host, such as " + defaultUpstream)
	}
	if u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, errors.New("has more than scheme, host and path: write it like " + defaultUpstream)
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	return u, nil
}

// isCleartext says whether credentials would cross a network unencrypted on
// the way to an upstream.
func isCleartext(u *url.URL) bool {
	if u.Scheme == "https" || u.Hostname() == "localhost" {
		return false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return err != nil || !addr.IsLoopback()
}
