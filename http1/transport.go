// Package http1 is an HTTP/1.1 client transport.
package http1

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Transport is an [http.RoundTripper] for HTTP/1.1. For now it is net/http's.
type Transport struct {
	Proxy                  func(*http.Request) (*url.URL, error)
	Fallback               http.RoundTripper
	DialContext            func(ctx context.Context, network, addr string) (net.Conn, error)
	TLSClientConfig        *tls.Config
	TLSHandshakeTimeout    time.Duration
	ResponseHeaderTimeout  time.Duration
	IdleConnTimeout        time.Duration
	MaxIdleConnsPerHost    int
	MaxResponseHeaderBytes int64

	once sync.Once
	std  *http.Transport
}

func (t *Transport) init() {
	t.once.Do(func() {
		t.std = &http.Transport{
			DialContext:            t.DialContext,
			TLSClientConfig:        t.TLSClientConfig,
			TLSHandshakeTimeout:    t.TLSHandshakeTimeout,
			ResponseHeaderTimeout:  t.ResponseHeaderTimeout,
			IdleConnTimeout:        t.IdleConnTimeout,
			MaxIdleConnsPerHost:    t.MaxIdleConnsPerHost,
			MaxResponseHeaderBytes: t.MaxResponseHeaderBytes,
			DisableCompression:     true,
			Protocols:              new(http.Protocols),
		}
		t.std.Protocols.SetHTTP1(true)
	})
}

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	t.init()
	res, err := t.std.RoundTrip(req)
	if err == nil && res.StatusCode == http.StatusSwitchingProtocols {
		res.Body.Close()
		return nil, errors.New("http1: protocol switched")
	}
	return res, err
}

// CloseIdleConnections closes the connections no request uses.
func (t *Transport) CloseIdleConnections() {
	t.init()
	t.std.CloseIdleConnections()
}
