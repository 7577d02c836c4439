package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// byMethod has a value for each token endpoint.
type byMethod[V any] struct {
	Classic V `json:"classic"`
	Stable  V `json:"stable"`
}

// accountStatus is what the control endpoints tell of an account. Neither its
// secret nor a token is in it.
type accountStatus struct {
	AppID           string               `json:"appid"`
	Fetches         int                  `json:"fetches"`
	FetchesByMethod byMethod[int]        `json:"fetches_by_method"`
	FetchesRefused  int                  `json:"fetches_refused"`
	Forced          int                  `json:"forced"`
	Calls           int                  `json:"calls"`
	Rejected        int                  `json:"rejected"`
	Messages        int                  `json:"messages"`
	Fingerprint     byMethod[*string]    `json:"token_fingerprint"`
	ExpiresAt       byMethod[*time.Time] `json:"token_expires_at"`
	Failing         struct {
		Token int `json:"token"`
		API   int `json:"api"`
	} `json:"failing"`
}

func (a *account) status(now time.Time) accountStatus {
	st := accountStatus{
		AppID:           a.AppID,
		Fetches:         a.classic.fetches + a.stable.fetches,
		FetchesByMethod: byMethod[int]{a.classic.fetches, a.stable.fetches},
		FetchesRefused:  a.refused,
		Forced:          a.forced,
		Calls:           a.calls,
		Rejected:        a.rejected,
		Messages:        a.messages,
	}
	st.Fingerprint.Classic, st.ExpiresAt.Classic = a.classic.status(now)
	st.Fingerprint.Stable, st.ExpiresAt.Stable = a.stable.status(now)
	st.Failing.Token = a.failures.left(tokenEndpoint)
	st.Failing.API = a.failures.left(apiEndpoint)
	return st
}

// status returns nothing where the current token is dead.
func (i *issuer) status(now time.Time) (fingerprint *string, expires *time.Time) {
	if i.current == nil || !i.current.alive(now) {
		return nil, nil
	}
	at := i.current.ends.UTC().Truncate(time.Second)
	return new(i.current.fingerprint()), &at
}

func (s *Server) newControl() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /sandbox/messages", s.controlMessages)
	mux.HandleFunc("GET /sandbox/accounts", s.controlList)
	mux.HandleFunc("GET /sandbox/accounts/{appid}", s.controlAccount(show))
	mux.HandleFunc("POST /sandbox/accounts/{appid}/expire", s.controlAccount(expire))
	mux.HandleFunc("POST /sandbox/accounts/{appid}/revoke", s.controlAccount(revoke))
	mux.HandleFunc("POST /sandbox/accounts/{appid}/fail", s.controlAccount(fail))
	return refuseWebPages(mux)
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

func (s *Server) controlList(w http.ResponseWriter, _ *http.Request) {
	writeControl(w, http.StatusOK, s.status(time.Now()))
}

// serverStatus lists the accounts. Whoever shows no token, or one that the
// sandbox has never seen, shows no account either.
type serverStatus struct {
	Accounts     []accountStatus `json:"accounts"`
	Unattributed int             `json:"rejected_without_account"`
}

func (s *Server) status(now time.Time) serverStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := serverStatus{Unattributed: s.unattributed}
	for _, a := range s.accounts {
		st.Accounts = append(st.Accounts, a.status(now))
	}
	return st
}

// action is what a control request does to an account.
type action func(a *account, now time.Time)

// controlAccount reads what is to be done, does it to the account that the path
// names, and answers with the account's status.
func (s *Server) controlAccount(read func(*http.Request) (action, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		a := s.byAppID[r.PathValue("appid")]
		s.mu.Unlock()
		if a == nil {
			controlError(w, http.StatusNotFound, errors.New("the sandbox has no such account"))
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxControlBody)
		do, err := read(r)
		if err != nil {
			controlError(w, http.StatusBadRequest, err)
			return
		}
		writeControl(w, http.StatusOK, s.act(a, do))
	}
}

func (s *Server) act(a *account, do action) accountStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	do(a, now)
	return a.status(now)
}

func show(*http.Request) (action, error) {
	return func(*account, time.Time) {}, nil
}

func expire(*http.Request) (action, error) {
	return func(a *account, now time.Time) {
		a.endTokens(now, accessTokenExpired)
		a.stable.insists = false
	}, nil
}

func revoke(r *http.Request) (action, error) {
	insist := false
	if value := r.URL.Query().Get("insist"); value != "" {
		var err error
		if insist, err = strconv.ParseBool(value); err != nil {
			return nil, fmt.Errorf("insist is %q: write true or false", value)
		}
	}
	return func(a *account, now time.Time) {
		a.endTokens(now, invalidCredential)
		a.stable.insists = insist
	}, nil
}

func (a *account) endTokens(now time.Time, errcode int) {
	for _, i := range []*issuer{a.classic, a.stable} {
		i.endAll(now, errcode)
	}
}

const (
	maxControlBody = 64 << 10
	maxFailures    = 1_000_000
)

func fail(r *http.Request) (action, error) {
	order := struct {
		Endpoint string `json:"endpoint"`
		Errcode  int    `json:"errcode"`
		Errmsg   string `json:"errmsg"`
		Times    int    `json:"times"`
	}{Times: 1}
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&order); err != nil {
		return nil, fmt.Errorf(`write {"endpoint":"token","errcode":40164,"errmsg":"…","times":3}: %w`, err)
	}
	switch {
	case order.Endpoint != tokenEndpoint && order.Endpoint != apiEndpoint:
		return nil, fmt.Errorf("endpoint is %q: write token or api", order.Endpoint)
	case order.Times < 0 || order.Times > maxFailures:
		return nil, fmt.Errorf("times is %d: write 0 to %d", order.Times, maxFailures)
	case order.Times > 0 && order.Errcode == success:
		return nil, errors.New("errcode is missing")
	}
	return func(a *account, _ time.Time) {
		a.failures[order.Endpoint] = &failure{
			err:  &apiError{code: order.Errcode, msg: order.Errmsg},
			left: order.Times,
		}
	}, nil
}

func controlError(w http.ResponseWriter, httpStatus int, err error) {
	writeControl(w, httpStatus, map[string]string{"error": err.Error()})
}

func writeControl(w http.ResponseWriter, httpStatus int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(httpStatus)
	_, _ = w.Write(append(encode(v), '\n'))
}
