package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// subject is what the control endpoints act on: an owner of tokens.
type subject interface {
	owner
	issuers() []*issuer
	// revoked is the errcode of a token that is not the latest.
	revoked() int
	rotateTickets()
	// report is what is told of it. Neither a secret nor a token is in it.
	report(now time.Time) any
}

func (s *Server) newControl() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /sandbox/messages", s.controlMessages)
	mux.HandleFunc("GET /sandbox/accounts", s.controlList)
	mux.HandleFunc("GET /sandbox/corps", s.controlCorps)
	mux.HandleFunc("GET /sandbox/corps/{corpid}", s.controlCorp)
	s.handleSubject(mux, "/sandbox/accounts/{appid}", s.findAccount)
	s.handleSubject(mux, "/sandbox/corps/{corpid}/agents/{agentid}", s.findAgent)
	mux.HandleFunc("GET /sandbox/certificate", s.controlCertificate)
	mux.HandleFunc("POST /sandbox/certificate/rotate", s.controlRotateCertificate)
	s.handlePlatforms(mux)

	open := http.NewServeMux() // harmless, and so for pages too
	open.HandleFunc("GET /sandbox/jssdk", controlPage)
	open.HandleFunc("POST /sandbox/jssdk/verify", s.controlVerify)
	open.Handle("/", refuseWebPages(mux))
	return open
}

// handleSubject serves what can be done to anything that has tokens.
func (s *Server) handleSubject(mux *http.ServeMux, path string, find finder) {
	mux.HandleFunc("GET "+path, s.controlSubject(find, show))
	mux.HandleFunc("POST "+path+"/expire", s.controlSubject(find, expire))
	mux.HandleFunc("POST "+path+"/revoke", s.controlSubject(find, revoke))
	mux.HandleFunc("POST "+path+"/fail", s.controlSubject(find, fail))
	mux.HandleFunc("POST "+path+"/rotate_tickets", s.controlSubject(find, rotateTickets))
}

// refuseWebPages keeps the pages in a developer's browser from controlling a
// sandbox on localhost. An address typed by hand works.
func refuseWebPages(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		site := r.Header.Get("Sec-Fetch-Site")
		if site != "" && site != "none" || len(r.Header.Values("Origin")) > 0 {
			controlError(w, http.StatusForbidden, errors.New("web pages may not control the sandbox"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

var errNoCorp = errors.New("the sandbox has no such corp")

// finder returns what a control request's path names, or an error that says
// that there is none.
type finder func(r *http.Request) (subject, error)

func (s *Server) findAccount(r *http.Request) (subject, error) {
	if a := s.byAppID[r.PathValue("appid")]; a != nil {
		return a, nil
	}
	return nil, errors.New("the sandbox has no such account")
}

func (s *Server) findAgent(r *http.Request) (subject, error) {
	if co := s.corps[r.PathValue("corpid")]; co != nil {
		if a := co.agent(r.PathValue("agentid")); a != nil {
			return a, nil
		}
	}
	return nil, errors.New("the sandbox has no such agent")
}

// action is what a control request does.
type action func(s subject, now time.Time)

// controlSubject reads what is to be done, does it to what the path names, and
// answers with its report.
func (s *Server) controlSubject(find finder, read func(*http.Request) (action, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxControlBody)
		do, readErr := read(r)

		s.controlLocked(w, func() (any, *controlRefusal) {
			found, err := find(r)
			switch {
			case err != nil:
				return nil, &controlRefusal{http.StatusNotFound, err}
			case readErr != nil:
				return nil, &controlRefusal{http.StatusBadRequest, readErr}
			}
			now := time.Now()
			do(found, now)
			return found.report(now), nil
		})
	}
}

func show(*http.Request) (action, error) {
	return func(subject, time.Time) {}, nil
}

func expire(*http.Request) (action, error) {
	return func(s subject, now time.Time) { endTokens(s, now, accessTokenExpired, false) }, nil
}

func revoke(r *http.Request) (action, error) {
	insist := false
	if value := r.URL.Query().Get("insist"); value != "" {
		var err error
		if insist, err = strconv.ParseBool(value); err != nil {
			return nil, fmt.Errorf("insist is %q: write true or false", value)
		}
	}
	return func(s subject, now time.Time) { endTokens(s, now, s.revoked(), insist) }, nil
}

// endTokens lets all tokens die. Insisting, the endpoint goes on handing the
// dead one out.
func endTokens(s subject, now time.Time, errcode int, insists bool) {
	for _, i := range s.issuers() {
		i.endAll(now, errcode)
		i.insists = insists
	}
}

func rotateTickets(*http.Request) (action, error) {
	return func(s subject, _ time.Time) { s.rotateTickets() }, nil
}

const (
	maxControlBody = 64 << 10
	maxFailures    = 1_000_000
)

// failOrder is which answers a test wants to fail, and how.
type failOrder struct {
	Endpoint string `json:"endpoint"`
	Errcode  int    `json:"errcode"`
	Errmsg   string `json:"errmsg"`
	Times    int    `json:"times"`
}

func fail(r *http.Request) (action, error) {
	order, err := readFailOrder(r)
	if err != nil {
		return nil, fmt.Errorf(`write {"endpoint":"token","errcode":40164,"errmsg":"…","times":3}, or the same in the query: %w`, err)
	}
	switch {
	case order.Endpoint != tokenEndpoint && order.Endpoint != apiEndpoint:
		return nil, fmt.Errorf("endpoint is %q: write token or api", order.Endpoint)
	case order.Times < 0 || order.Times > maxFailures:
		return nil, fmt.Errorf("times is %d: write 0 to %d", order.Times, maxFailures)
	case order.Times > 0 && order.Errcode == success:
		return nil, errors.New("errcode is missing: write 40164 for example")
	}
	return func(s subject, _ time.Time) {
		s.count().failures[order.Endpoint] = &failure{
			err:  &apiError{code: order.Errcode, msg: order.Errmsg},
			left: order.Times,
		}
	}, nil
}

func readFailOrder(r *http.Request) (failOrder, error) {
	order := failOrder{Endpoint: apiEndpoint, Times: 1}
	if r.URL.RawQuery != "" {
		return order, order.readQuery(r.URL.Query())
	}
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&order)
	if errors.Is(err, io.EOF) {
		err = errors.New("there is nothing")
	}
	return order, err
}

func (o *failOrder) readQuery(query url.Values) error {
	for name, values := range query {
		var err error
		switch name {
		case "endpoint":
			o.Endpoint = values[0]
		case "errmsg":
			o.Errmsg = values[0]
		case "errcode":
			o.Errcode, err = strconv.Atoi(values[0])
		case "times":
			o.Times, err = strconv.Atoi(values[0])
		default:
			err = fmt.Errorf("there is no %q", name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// controlRefusal is why a control request does nothing.
type controlRefusal struct {
	httpStatus int
	err        error
}

// controlLocked answers with what f returns, which is called while nothing else
// changes. Nobody else waits for a client that is slow to take its answer.
func (s *Server) controlLocked(w http.ResponseWriter, f func() (any, *controlRefusal)) {
	body, refused := s.encodeLocked(f)
	if refused != nil {
		controlError(w, refused.httpStatus, refused.err)
		return
	}
	writeEncoded(w, http.StatusOK, body)
}

func (s *Server) encodeLocked(f func() (any, *controlRefusal)) ([]byte, *controlRefusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, refused := f()
	return encode(v), refused
}

func controlError(w http.ResponseWriter, httpStatus int, err error) {
	writeControl(w, httpStatus, map[string]string{"error": err.Error()})
}

func writeControl(w http.ResponseWriter, httpStatus int, v any) {
	writeEncoded(w, httpStatus, encode(v))
}

func writeEncoded(w http.ResponseWriter, httpStatus int, body []byte) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(httpStatus)
	_, _ = w.Write(append(body, '\n'))
}
