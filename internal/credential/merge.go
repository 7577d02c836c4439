package credential

import (
	"cmp"
	"slices"
	"time"
)

// merge returns what two records tell together.
func merge(a, b record) record {
	m := a
	if compareValues(&a, &b) < 0 {
		m = b
	}
	m.Attempt = newer(a.Attempt, b.Attempt, compareAttempts)
	m.Standing = newer(a.Standing, b.Standing, compareStandings)
	m.LastError = newer(a.LastError, b.LastError, compareErrors)
	m.Kept = newer(a.Kept, b.Kept, compareKept)
	m.GrantedAt = newer(a.GrantedAt, b.GrantedAt, compareTimes)
	m.Withdrawal = newer(a.Withdrawal, b.Withdrawal, compareWithdrawals)
	m.Replacements = newer(a.Replacements, b.Replacements, compareTimes)
	m.RenewedAt = newer(a.RenewedAt, b.RenewedAt, compareTimes)
	m.Forced = mergeTimes(a.Forced, b.Forced, maxForcedKept)
	m.Deaths = mergeTimes(a.Deaths, b.Deaths, maxDeathsKept)
	m.Vain = mergeVain(a.Vain, b.Vain)
	return m
}

const (
	// maxForcedKept is more than any source allows to be forced in a day.
	maxForcedKept = 64

	// maxDeathsKept is enough to see a competing fetcher, and that it goes on.
	maxDeathsKept = 16
)

func newer[T any](a, b T, compare func(a, b *T) int) T {
	if compare(&a, &b) < 0 {
		return b
	}
	return a
}

// mergeTimes returns the newest of two lists of times, at most so many.
func mergeTimes(a, b []time.Time, most int) []time.Time {
	merged := slices.Concat(a, b)
	slices.SortFunc(merged, time.Time.Compare)
	merged = slices.CompactFunc(merged, time.Time.Equal)
	if len(merged) == 0 {
		return nil
	}
	return slices.Clone(merged[max(0, len(merged)-most):])
}

// compareValues orders records by their value. What is compared after the
// generation only has to make any two different records unequal.
func compareValues(a, b *record) int {
	return cmp.Or(
		cmp.Compare(a.Generation, b.Generation),
		a.CheckedAt.Compare(b.CheckedAt),
		cmp.Compare(a.AccessToken, b.AccessToken),
		a.ExpiresAt.Compare(b.ExpiresAt),
		a.FetchedAt.Compare(b.FetchedAt),
		cmp.Compare(a.RejectedInARow, b.RejectedInARow),
		cmp.Compare(a.HandedOutAgain, b.HandedOutAgain),
	)
}

func compareAttempts(a, b *attempt) int {
	return cmp.Or(
		cmp.Compare(a.Number, b.Number),
		cmp.Compare(a.Generation, b.Generation),
		cmp.Compare(a.Failures, b.Failures),
		a.RetryAt.Compare(b.RetryAt),
		a.At.Compare(b.At),
		a.Since.Compare(b.Since),
		cmp.Compare(a.OfDay, b.OfDay),
		cmp.Compare(a.Day, b.Day),
		cmp.Compare(a.Errcode, b.Errcode),
		cmp.Compare(a.Class, b.Class),
		cmp.Compare(a.Message, b.Message),
	)
}

func compareStandings(a, b *standing) int {
	return cmp.Or(a.At.Compare(b.At), a.RejectedSince.Compare(b.RejectedSince))
}

func compareErrors(a, b *lastError) int {
	return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Errcode, b.Errcode), cmp.Compare(a.Message, b.Message))
}

func compareKept(a, b *kept) int {
	return cmp.Or(cmp.Compare(a.Version, b.Version), cmp.Compare(a.Secret, b.Secret))
}

func compareTimes(a, b *time.Time) int { return a.Compare(*b) }

// equal reports whether two records are the same.
func (r *record) equal(o *record) bool {
	return compareValues(r, o) == 0 && compareAttempts(&r.Attempt, &o.Attempt) == 0 &&
		compareStandings(&r.Standing, &o.Standing) == 0 && compareErrors(&r.LastError, &o.LastError) == 0 &&
		compareKept(&r.Kept, &o.Kept) == 0 && r.GrantedAt.Equal(o.GrantedAt) &&
		compareWithdrawals(&r.Withdrawal, &o.Withdrawal) == 0 && r.Replacements.Equal(o.Replacements) && r.RenewedAt.Equal(o.RenewedAt) &&
		slices.EqualFunc(r.Forced, o.Forced, time.Time.Equal) && slices.EqualFunc(r.Deaths, o.Deaths, time.Time.Equal) &&
		slices.EqualFunc(r.Vain, o.Vain, sameVain)
}
