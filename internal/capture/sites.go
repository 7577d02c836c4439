package capture

import (
	"context"
	"crypto/tls"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// Site is a server whose sites tunnels lead to.
type Site struct {
	Handler   http.Handler
	TLSConfig *tls.Config
	HTTP2     bool

	// As in http.Server.
	ReadTimeout       time.Duration
	ReadHeaderTimeout time.Duration
	WriteTimeout      time.Duration
	IdleTimeout       time.Duration
	MaxHeaderBytes    int
	ErrorLog          *log.Logger
}

// Sites serves tunnels, with an http.Server for each Site that there are any to.
// The zero value is ready for use.
type Sites struct {
	mu     sync.Mutex
	served map[any]*servedSite // by the key of the site
	closed bool
	done   sync.WaitGroup // the loops that accept tunnels
}

type servedSite struct {
	server   *http.Server
	listener *listener
	tls      *tls.Config
}

// Serve hands a tunnel over to the site of that key. The function makes the
// Site, when it is the first. The tunnel is the site's from then on, unless
// there is an error.
func (s *Sites) Serve(key any, newSite func() Site, t *Tunnel) error {
	l, err := s.listenerOf(key, newSite)
	if err != nil {
		return err
	}
	if !l.hand(t) {
		return ErrClosed
	}
	return nil
}

func (s *Sites) listenerOf(key any, newSite func() Site) (*listener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	if site, ok := s.served[key]; ok {
		return site.listener, nil
	}
	site := newServedSite(newSite())
	if s.served == nil {
		s.served = make(map[any]*servedSite)
	}
	s.served[key] = site
	s.done.Go(func() {
		// It ends with ErrServerClosed, by Shutdown.
		_ = site.server.Serve(&tlsListener{site.listener, site.tls})
	})
	return site.listener, nil
}

func newServedSite(site Site) *servedSite {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(site.HTTP2)
	return &servedSite{
		listener: newListener(),
		tls:      site.TLSConfig,
		server: &http.Server{
			// Its TLSConfig would have to name HTTP/2 itself.
			Handler:           &handler{site.Handler},
			Protocols:         protocols,
			ReadTimeout:       site.ReadTimeout,
			ReadHeaderTimeout: site.ReadHeaderTimeout,
			WriteTimeout:      site.WriteTimeout,
			IdleTimeout:       site.IdleTimeout,
			MaxHeaderBytes:    site.MaxHeaderBytes,
			ErrorLog:          site.ErrorLog,
			ConnContext: func(ctx context.Context, c net.Conn) context.Context {
				return context.WithValue(ctx, hostKey{}, c.(*tls.Conn).NetConn().(*Tunnel).host)
			},
		},
	}
}

// Shutdown ends the tunnels: those without a request at once, the others when
// their requests are answered, or when the context ends. No tunnel is taken any
// more from the moment it is called. Whoever calls it again waits as well.
func (s *Sites) Shutdown(ctx context.Context) {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	var ending sync.WaitGroup
	for _, site := range s.served { // none is added any more
		ending.Go(func() {
			_ = site.listener.Close()
			if err := site.server.Shutdown(ctx); err != nil {
				_ = site.server.Close()
			}
		})
	}
	ending.Wait()
	s.done.Wait()
}

// tlsListener ends TLS in the tunnels that are accepted. Unlike that of
// tls.NewListener it needs no certificate: the configuration has a function.
type tlsListener struct {
	net.Listener
	config *tls.Config
}

func (l *tlsListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tls.Server(conn, l.config), nil
}

// hostKey is the key of a request's tunnel's host in its context.
type hostKey struct{}

// handler has a site answer the requests that come through tunnels.
type handler struct {
	site http.Handler
}

// ServeHTTP passes a request on to the site if it is for the host that the
// tunnel was asked for. What else the server has is nobody's business here.
func (h *handler) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	wanted, _ := req.Context().Value(hostKey{}).(string)
	host, port := SplitAuthority(req.Host)
	if host != wanted {
		http.Error(w, "this tunnel leads to "+wanted+" alone", http.StatusMisdirectedRequest)
		return
	}
	if canonical := JoinAuthority(host, port); req.Host != canonical {
		// There may be no site by the spelling that the application uses.
		respelled := *req
		respelled.Host = canonical
		req = &respelled
	}
	h.site.ServeHTTP(&answer{ResponseWriter: w}, req)
}

// answer is a site's answer to a request that came through a tunnel. It does not
// tell of HTTP/3: a client that tried it would turn to WeChat itself.
type answer struct {
	http.ResponseWriter
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	a.Header().Del("Alt-Svc")
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	a.Header().Del("Alt-Svc") // where it is the first
	return a.ResponseWriter.Write(p)
}

// FlushError sends what was written so far.
func (a *answer) FlushError() error {
	a.Header().Del("Alt-Svc")
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
