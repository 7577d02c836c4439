package credential

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// FailureClass tells how long to wait after a source has refused.
type FailureClass uint8

const (
	// Transient failures pass by themselves.
	Transient FailureClass = iota
	// Configuration failures last until somebody changes something.
	Configuration
	// DailyQuota failures last until the next day.
	DailyQuota
)

// Failure is why a source gave no value.
type Failure struct { //nolint:errname // it is kept, embedded and shown more than it is returned
	// Errcode is the source's, or 0 where it did not answer with one.
	Errcode int

	// Message is the cause in words. It holds no secret.
	Message string

	// Class tells how long to wait.
	Class FailureClass

	// Uncounted reports whether it leaves FailuresPerHour alone.
	Uncounted bool

	// Wait is how long the source is not asked again, where that does not depend
	// on how often it has refused; 0 is by Class. It is no longer than the class's
	// longest wait.
	Wait time.Duration

	// ParentRejected reports whether it was the parent's value that was refused.
	ParentRejected bool

	// Timeout reports whether the source did not answer in time.
	Timeout bool
}

// Error returns errcode and cause.
func (f *Failure) Error() string {
	if f.Errcode == 0 {
		return f.Message
	}
	return "errcode " + strconv.Itoa(f.Errcode) + ": " + f.Message
}

// Unreachable reports whether the source gave no answer of its own.
func (f *Failure) Unreachable() bool { return f.Errcode == 0 }

// failureOf returns what an error of a source means.
func failureOf(err error) *Failure {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f
	}
	return &Failure{Message: err.Error(), Timeout: isTimeout(err)}
}

func isTimeout(err error) bool {
	netErr, ok := errors.AsType[net.Error](err)
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || ok && netErr.Timeout()
}

// UnavailableError is returned where there is no value to be had.
type UnavailableError struct {
	// Name is the credential's.
	Name string

	// Failure is the cause.
	Failure

	// RetryAt is when the source will be asked again.
	RetryAt time.Time

	// BackingOff reports whether the source was not asked this time.
	BackingOff bool
}

// Error returns the name and the cause.
func (e *UnavailableError) Error() string {
	return fmt.Sprintf("no credential for %s: %s", e.Name, e.Failure.Error())
}

// ErrStillRejected says that a rejected value is not replaced for now, because
// new ones do not help or the source gives none.
var ErrStillRejected = errors.New("the rejected value is not replaced again so soon")

// UnsavedError is returned where a value must be in the store before it is used,
// and the store did not take it.
type UnsavedError struct {
	Name string
	Err  error
}

// Error returns the name and the store's error.
func (e *UnsavedError) Error() string {
	return fmt.Sprintf("the store does not take what is new for %s: %v", e.Name, e.Err)
}

// Unwrap returns the store's error.
func (e *UnsavedError) Unwrap() error { return e.Err }

// RefusalReason is why a renewal is refused that anybody may ask for.
type RefusalReason uint8

const (
	// TooSoon is less than RenewGap after the last one.
	TooSoon RefusalReason = iota + 1
	// BackingOff is a back-off that the source has caused.
	BackingOff
	// QuotaNear is a day whose quota is used up to 80 % or more.
	QuotaNear
)

// RefusedError is returned where a renewal is refused that anybody may ask for.
type RefusedError struct {
	Reason  RefusalReason
	RetryAt time.Time // when it will be granted, as far as can be told

	// Failure is the cause of a back-off.
	Failure *Failure
}

// Error returns the reason.
func (e *RefusedError) Error() string {
	switch e.Reason {
	case TooSoon:
		return "it was renewed a moment ago"
	case BackingOff:
		return "the source is not asked before its back-off ends"
	default:
		return "most of the day's quota is used up"
	}
}
