package gateway

import (
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
)

// Registry is what a configuration knows of who may call: its accounts and its
// callers, and the tokens that were issued to them.
type Registry struct {
	Accounts *account.Directory

	// Ticket returns the answer to a request for a ticket of an account's that the
	// proxy keeps, and nil for other requests. It may be nil.
	Ticket func(*http.Request, *account.Account) ([]byte, error)

	platforms   []*servedPlatform
	callers     []*Caller
	callersByID map[account.VirtualID]*Caller
	issuers     realIssuers
	now         func() time.Time
	logger      *zap.Logger
}

// NewRegistry returns a registry without callers. now is the time by which tokens
// live.
func NewRegistry(accounts *account.Directory, now func() time.Time, logger *zap.Logger) (*Registry, error) {
	r := &Registry{Accounts: accounts, callersByID: make(map[account.VirtualID]*Caller), now: now, logger: logger}
	r.issuers.accounts = make(map[*issuedTokens]*account.Account)
	for a := range accounts.All() {
		a.IsIssued = r.hasIssued
		if a.Issue != account.IssueReal {
			continue
		}
		if err := r.issuers.add(a); err != nil {
			return nil, errors.Join(err, r.Close())
		}
	}
	return r, nil
}

// Close forgets the tokens that were issued.
func (r *Registry) Close() error { return r.issuers.release() }

// virtualSecrets returns what virtual tokens of an account and a caller are
// signed with, or nil.
func (r *Registry) virtualSecrets(of, caller account.VirtualID) *virtualSecrets {
	a := r.subjectOfToken(&virtualClaims{account: of}).account
	if a == nil {
		return nil
	}
	s := &virtualSecrets{accountKey: a.VirtualKey()}
	if caller == (account.VirtualID{}) {
		return s
	}
	c, ok := r.callersByID[caller]
	if !ok {
		return nil
	}
	s.callerKey = c.keyDigest
	return s
}

// hasIssued reports whether a token is a virtual one of this proxy's.
func (r *Registry) hasIssued(token string) bool {
	if !account.IsVirtualToken(token) {
		return false
	}
	_, err := verifyVirtualToken(token, r.now(), r.virtualSecrets)
	return err == nil || errors.Is(err, errVirtualTokenExpired)
}
