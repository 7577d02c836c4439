package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// Token is an access_token as requests use it. It prints as its fingerprint.
type Token = credential.Value

// Replacement is what to use in place of a rejected token, and whom to tell what
// came of it.
type Replacement = credential.Replacement

// ErrStillRejected says that a rejected token is not replaced for now, because
// new ones do not help or WeChat gives none.
var ErrStillRejected = credential.ErrStillRejected

// TokenError is why there is no usable access_token for an account.
type TokenError struct {
	Account *Account

	// UnavailableError is the cause.
	*credential.UnavailableError
}

// noToken is what the texts of all TokenErrors begin with.
const noToken = "no access_token for account "

// Error returns the account and the cause.
func (e *TokenError) Error() string {
	failure := e.Failure
	if e.Account.Kind != nil {
		failure.Message = e.Account.Kind.WithoutHint(failure.Message)
	}
	return fmt.Sprintf(noToken+"%s: %s", e.Account.Name, failure.Error())
}

// Unwrap returns the cause.
func (e *TokenError) Unwrap() error { return e.UnavailableError }

// Advice returns what an operator has to do about it, or nothing.
func (e *TokenError) Advice(lang wechat.Language) string {
	return FailureAdvice(e.Account.Kind, e.Errcode, e.Message, lang)
}

// tokenError returns an error of the package credential with the account.
func (a *Account) tokenError(err error) error {
	if u, ok := errors.AsType[*credential.UnavailableError](err); ok {
		return &TokenError{a, u}
	}
	return err
}

// Token returns the account's token. Where there is a valid one that takes one
// look, no lock, and allocates nothing. Where there is none it waits for one, as
// long as ctx allows. The error is a *TokenError, ErrStillRejected, or that of
// ctx.
func (a *Account) Token(ctx context.Context) (*Token, error) {
	if t := a.credential.Current(a.manager.Now()); t != nil {
		return t, nil
	}
	t, err := a.manager.Value(ctx, &a.credential)
	return t, a.tokenError(err)
}

// Replace returns a token to use in place of one that WeChat has rejected. It is
// compare-and-swap: where another token has taken the rejected one's place
// already, it returns that. A token that is found to be good is returned after a
// moment, to be tried once more. by is the caller, or the client's address: who
// had tokens fetched in vain too often is not listened to for a while.
//
// The error is ErrStillRejected where the token is not replaced for now, a
// *TokenError where none could be had, or that of ctx.
func (a *Account) Replace(ctx context.Context, rejected *Token, by string) (*Replacement, error) {
	r, err := a.manager.Replace(ctx, &a.credential, rejected, by)
	if err != nil {
		return nil, a.tokenError(err)
	}
	if r.Wait > 0 {
		timer := time.NewTimer(r.Wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return &r, nil
}

// TokenLasting returns a token that lives for that long at least, if WeChat
// gives one. Where every fetch kills the token before, half of its life is
// enough. It is for tokens that leave the proxy.
func (a *Account) TokenLasting(ctx context.Context, left time.Duration) (*Token, error) {
	t, err := a.manager.ValueLasting(ctx, &a.credential, left)
	return t, a.tokenError(err)
}

// Renew gets another token at once, whatever went before: it ends a back-off.
// If the fingerprint of a rejected token is given, it does so only if that is
// the current one still. It is for operators, and for systems that have found a
// token rejected themselves.
func (a *Account) Renew(ctx context.Context, rejected string) error {
	return a.tokenError(a.manager.Renew(ctx, &a.credential, rejected))
}

// RenewGently is Renew for those who are no operators. What it refuses, for the
// account's sake, is a *credential.RefusedError.
func (a *Account) RenewGently(ctx context.Context) error {
	return a.tokenError(a.manager.RenewGently(ctx, &a.credential))
}

// LookAgain has it found out whether the token may still be used, after an API has
// said that the account has not authorised the platform. It returns at once, and
// does nothing where that was done within the last minute.
func (a *Account) LookAgain() { a.manager.Doubt(&a.credential) }

// CountReplay counts a request that was sent again.
func (a *Account) CountReplay() { a.manager.Replayed(&a.credential) }

// CurrentToken returns the token there is, or nil. It may not be one to be used.
func (a *Account) CurrentToken() *Token { return a.credential.Peek() }
