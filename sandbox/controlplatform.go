package sandbox

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

func (s *Server) handlePlatforms(mux *http.ServeMux) {
	const platform = "/sandbox/platforms/{component}"
	mux.HandleFunc("GET /sandbox/platforms", s.controlPlatforms)
	s.handleSubject(mux, platform, s.findComponent)
	s.handleSubject(mux, platform+"/authorizers/{appid}", s.findAuthorizer)
	mux.HandleFunc("POST "+platform+"/authorizers/{appid}/rotate_refresh_token", s.controlSubject(s.findAuthorizer, rotateRefresh))
	mux.HandleFunc("POST "+platform+"/push", s.controlPush)
	mux.HandleFunc("POST "+platform+"/authorize", s.controlAuthorize)
	mux.HandleFunc("POST "+platform+"/unauthorize", s.controlUnauthorize)
}

var errNoComponent = errors.New("the sandbox has no such platform")

func (s *Server) findComponent(r *http.Request) (subject, error) {
	if co := s.components[r.PathValue("component")]; co != nil {
		return co, nil
	}
	return nil, errNoComponent
}

func (s *Server) findAuthorizer(r *http.Request) (subject, error) {
	if co := s.components[r.PathValue("component")]; co != nil {
		if z := co.authorizers[r.PathValue("appid")]; z != nil {
			return z, nil
		}
	}
	return nil, errors.New("that account has never authorised the platform")
}

func rotateRefresh(*http.Request) (action, error) {
	return func(s subject, _ time.Time) { s.(*authorization).newRefreshToken() }, nil
}

// componentReport is what is told of a platform.
type componentReport struct {
	AppID string `json:"appid"`
	counted
	Fingerprint *string     `json:"token_fingerprint"`
	ExpiresAt   *time.Time  `json:"token_expires_at"`
	Authorizers int         `json:"authorizers"`
	Pushed      int         `json:"pushed"`
	Taken       int         `json:"taken"`
	Waiting     int         `json:"waiting"`
	LastPush    *pushResult `json:"last_push"`
}

func (co *component) report(now time.Time) any {
	r := componentReport{
		AppID: co.AppID, counted: co.counters.report(co.issuer), Authorizers: len(co.live()),
		Pushed: co.pushed.sent, Taken: co.pushed.taken, Waiting: len(co.pushed.waiting), LastPush: co.pushed.last,
	}
	r.Fingerprint, r.ExpiresAt = co.issuer.report(now)
	return r
}

func (co *component) issuers() []*issuer { return []*issuer{co.issuer} }

func (co *component) revoked() int { return invalidCredential }

// rotateTickets ends all tickets: a platform has to wait for the next.
func (co *component) rotateTickets() { co.tickets = nil }

// authorizationReport is what is told of an authorizer.
type authorizationReport struct {
	AppID      string `json:"appid"`
	Authorized bool   `json:"authorized"`
	counted
	Fingerprint *string    `json:"token_fingerprint"`
	ExpiresAt   *time.Time `json:"token_expires_at"`
}

func (z *authorization) report(now time.Time) any {
	r := authorizationReport{AppID: z.account.AppID, Authorized: !z.withdrawn, counted: z.counters.report(z.issuer)}
	r.Fingerprint, r.ExpiresAt = z.issuer.report(now)
	return r
}

func (z *authorization) issuers() []*issuer { return []*issuer{z.issuer} }

func (z *authorization) revoked() int { return invalidCredential }

func (z *authorization) rotateTickets() { z.account.rotateTickets() }

func (s *Server) controlPlatforms(w http.ResponseWriter, _ *http.Request) {
	s.controlLocked(w, func() (any, *controlRefusal) {
		list := []any{}
		for _, id := range s.componentIDs {
			list = append(list, s.components[id].report(time.Now()))
		}
		return map[string]any{"platforms": list}, nil
	})
}

// controlPush pushes a ticket now, with ?repeat=true the last one again.
func (s *Server) controlPush(w http.ResponseWriter, r *http.Request) {
	co := s.components[r.PathValue("component")] // they never change
	if co == nil {
		controlError(w, http.StatusNotFound, errNoComponent)
		return
	}
	again := false
	if value := r.URL.Query().Get("repeat"); value != "" {
		var err error
		if again, err = strconv.ParseBool(value); err != nil {
			controlError(w, http.StatusBadRequest, fmt.Errorf("repeat is %q: write true or false", value))
			return
		}
	}
	writeControl(w, http.StatusOK, s.pushTicket(context.WithoutCancel(r.Context()), co, again))
}

// merchant is whom authorize and unauthorize are about.
type merchant struct {
	AppID string `json:"appid"`
}

func readMerchant(r *http.Request) (merchant, error) {
	var m merchant
	decoder := json.NewDecoder(io.LimitReader(r.Body, maxControlBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&m); err != nil && !errors.Is(err, io.EOF) {
		return m, fmt.Errorf(`write {"appid":"wx…"}, or nothing at all: %w`, err)
	}
	if m.AppID != "" && !idForm.MatchString(m.AppID) {
		return m, fmt.Errorf("%q is no AppID: write 1 to 64 letters, digits, hyphens or underscores", m.AppID)
	}
	return m, nil
}

func newAppID() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails
	return "wx" + hex.EncodeToString(b)
}

// controlAuthorize lets a merchant, one of the accounts or a made-up one,
// authorise the platform, and pushes what WeChat pushes then.
func (s *Server) controlAuthorize(w http.ResponseWriter, r *http.Request) {
	co := s.components[r.PathValue("component")]
	if co == nil {
		controlError(w, http.StatusNotFound, errNoComponent)
		return
	}
	m, err := readMerchant(r)
	if err == nil && s.components[m.AppID] != nil {
		err = errors.New("a platform cannot authorise a platform")
	}
	if err != nil {
		controlError(w, http.StatusBadRequest, err)
		return
	}
	if m.AppID == "" {
		m.AppID = newAppID()
	}
	code, event := s.newAuthorization(co, m.AppID)
	pushed := s.push(context.WithoutCancel(r.Context()), co, event)
	writeControl(w, http.StatusOK, object{
		"authorizer_appid": m.AppID, "authorization_code": code, "expires_in": seconds(authCodeLifetime), "pushed": pushed,
	})
}

// newAuthorization makes an authorisation, its code, and the event of it.
func (s *Server) newAuthorization(co *component, appID string) (code, event string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	infoType := "authorized"
	if z := co.authorizers[appID]; z != nil && !z.withdrawn {
		infoType = "updateauthorized"
	}
	z := s.authorize(co, appID, now)
	code = "queryauthcode@@@" + randomText(60)
	expires := now.Add(authCodeLifetime)
	co.codes.add(code, &authCode{authorizer: z, expires: expires})
	return code, co.event(now, infoType, "AuthorizerAppid", appID, "AuthorizationCode", code,
		"AuthorizationCodeExpiredTime", strconv.FormatInt(expires.Unix(), 10), "PreAuthCode", "preauthcode@@@"+randomText(40))
}

// controlUnauthorize lets a merchant withdraw.
func (s *Server) controlUnauthorize(w http.ResponseWriter, r *http.Request) {
	co := s.components[r.PathValue("component")]
	if co == nil {
		controlError(w, http.StatusNotFound, errNoComponent)
		return
	}
	m, err := readMerchant(r)
	if err != nil {
		controlError(w, http.StatusBadRequest, err)
		return
	}
	event, err := s.endAuthorization(co, m.AppID)
	if err != nil {
		controlError(w, http.StatusNotFound, err)
		return
	}
	pushed := s.push(context.WithoutCancel(r.Context()), co, event)
	writeControl(w, http.StatusOK, object{"authorizer_appid": m.AppID, "pushed": pushed})
}

func (s *Server) endAuthorization(co *component, appID string) (event string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	z := co.authorizers[appID]
	if z == nil || z.withdrawn {
		return "", errors.New(`that account has not authorised the platform: write {"appid":"wx…"} of one that has`)
	}
	now := time.Now()
	z.withdraw(now)
	return co.event(now, "unauthorized", "AuthorizerAppid", appID), nil
}
