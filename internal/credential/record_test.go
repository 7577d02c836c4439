package credential

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// recordTime returns a time that survives JSON unchanged.
func recordTime(seconds int) time.Time {
	return time.Date(2026, 3, 1, 0, 0, seconds, 0, time.UTC)
}

// randomRecord draws from so few values that records often agree in part, which
// is where a merge can go wrong.
func randomRecord(rng *rand.Rand) record {
	var r record
	if r.Generation = rng.Int64N(4); r.Generation > 0 {
		r.AccessToken = string(rune('a' + rng.IntN(2)))
		r.FetchedAt = recordTime(rng.IntN(2))
		r.CheckedAt = recordTime(rng.IntN(2))
		r.ExpiresAt = recordTime(rng.IntN(2))
		r.HandedOutAgain = rng.IntN(3)
		r.RejectedInARow = rng.IntN(2)
	}
	if rng.IntN(2) > 0 {
		r.Attempt = attempt{
			Number:     rng.Int64N(3),
			Generation: rng.Int64N(2),
			Failures:   rng.IntN(2),
			At:         recordTime(rng.IntN(2)),
			Day:        string(rune('1' + rng.IntN(2))),
			OfDay:      rng.IntN(2),
			RetryAt:    recordTime(rng.IntN(2)),
			Errcode:    rng.IntN(2),
			Message:    string(rune('x' + rng.IntN(2))),
			Since:      recordTime(rng.IntN(2)),
			Class:      FailureClass(rng.IntN(2)),
		}
	}
	if rng.IntN(2) > 0 {
		r.Standing = standing{At: recordTime(rng.IntN(2)), RejectedSince: recordTime(rng.IntN(2))}
		r.LastError = lastError{At: recordTime(rng.IntN(2)), Errcode: rng.IntN(2), Message: string(rune('x' + rng.IntN(2)))}
		r.Kept = kept{Version: rng.Int64N(3), Secret: string(rune('k' + rng.IntN(2)))}
		r.GrantedAt = recordTime(rng.IntN(3))
		r.Withdrawal = withdrawal{At: recordTime(rng.IntN(3)), Generation: rng.Int64N(3), Kept: rng.Int64N(3)}
		r.Replacements, r.RenewedAt = recordTime(rng.IntN(2)), recordTime(rng.IntN(2))
	}
	// Now and then more than are kept.
	for s := range rng.IntN(2) * rng.IntN(2*maxForcedKept) {
		if rng.IntN(4) > 0 {
			r.Forced = append(r.Forced, recordTime(s))
		}
	}
	if n := len(r.Forced) - maxForcedKept; n > 0 {
		r.Forced = r.Forced[n:]
	}
	for s := range rng.IntN(2) * rng.IntN(maxVainKept) {
		if rng.IntN(2) == 0 {
			r.Vain = append(r.Vain, vainFetch{At: recordTime(s), By: digestOf(string(rune('a' + rng.IntN(3))))})
		}
	}
	for s := range rng.IntN(2) * rng.IntN(maxDeathsKept) {
		if rng.IntN(4) > 0 {
			r.Deaths = append(r.Deaths, recordTime(s))
		}
	}
	return r
}

func TestMergeLaws(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	same := func(law string, x, y record) {
		t.Helper()
		// Not equal: it overlooks what merge overlooks.
		if !reflect.DeepEqual(x, y) {
			t.Fatalf("not %s:\n%+v\n%+v", law, x, y)
		}
	}
	for range 3_000 {
		a, b, c := randomRecord(rng), randomRecord(rng), randomRecord(rng)
		ab := merge(a, b)
		same("commutative", ab, merge(b, a))
		same("associative", merge(ab, c), merge(a, merge(b, c)))
		same("idempotent", merge(a, a), a)
		same("idempotent after the fact", merge(ab, a), ab)
		same("indifferent to nothing", merge(a, record{}), a)
		if ab.Generation != max(a.Generation, b.Generation) {
			t.Fatalf("generations %d and %d make %d", a.Generation, b.Generation, ab.Generation)
		}
		if ab.Attempt.Number != max(a.Attempt.Number, b.Attempt.Number) {
			t.Fatalf("attempts %d and %d make %d", a.Attempt.Number, b.Attempt.Number, ab.Attempt.Number)
		}
		if len(ab.Forced) > maxForcedKept || !slices.IsSortedFunc(ab.Forced, time.Time.Compare) {
			t.Fatalf("forced: %v", ab.Forced)
		}
		if a.equal(&b) != reflect.DeepEqual(a, b) {
			t.Fatalf("equal says %t:\n%+v\n%+v", a.equal(&b), a, b)
		}
	}
}

// All processes arrive at the same record, in whatever order they hear of the
// others and how often.
func TestMergeConverges(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		records := make([]record, 6)
		for i := range records {
			records[i] = randomRecord(rng)
		}
		var want record
		for _, r := range records {
			want = merge(want, r)
		}
		for range 10 {
			var got record
			for _, i := range append(rng.Perm(len(records)), rng.Perm(len(records))...) {
				got = merge(records[i], got)
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("in another order:\n%+v\n%+v", got, want)
			}
		}
	}
}

// A field that the order of records does not know would make merge depend on
// the order of events, for the processes would keep different records.
func TestCompareKnowsEveryField(t *testing.T) {
	merged := []string{"Attempt", "Standing", "LastError", "Kept", "GrantedAt", "Withdrawal", "Replacements", "RenewedAt", "Forced", "Deaths", "Vain"}
	knowsEveryField(t, compareValues, merged...)
	knowsEveryField(t, compareAttempts)
	knowsEveryField(t, compareStandings)
	knowsEveryField(t, compareErrors)
	knowsEveryField(t, compareKept)
	knowsEveryField(t, compareWithdrawals)
	knowsEveryField(t, func(a, b *vainFetch) int { return compareVain(*a, *b) })
	for _, name := range merged {
		var zero, other record
		fillField(t, reflect.ValueOf(&other).Elem().FieldByName(name))
		if zero.equal(&other) {
			t.Errorf("%s: two that differ count as equal", name)
		}
		if m := merge(zero, other); !reflect.DeepEqual(m, other) {
			t.Errorf("%s is lost: %+v", name, m)
		}
	}
}

func knowsEveryField[T any](t *testing.T, compare func(a, b *T) int, but ...string) {
	t.Helper()
	for field := range reflect.TypeFor[T]().Fields() {
		if slices.Contains(but, field.Name) {
			continue // these are merged on their own
		}
		var zero, other T
		fillField(t, reflect.ValueOf(&other).Elem().FieldByName(field.Name))
		if a, b := compare(&zero, &other), compare(&other, &zero); a == 0 || a != -b {
			t.Errorf("%s: %d one way, %d the other", field.Name, a, b)
		}
	}
}

func fillField(t *testing.T, field reflect.Value) {
	t.Helper()
	switch v := field.Addr().Interface().(type) {
	case *int, *int64:
		field.SetInt(1)
	case *FailureClass:
		*v = 1
	case *string:
		*v = "x"
	case *time.Time:
		*v = recordTime(0)
	case *[]time.Time:
		*v = []time.Time{recordTime(0)}
	case *[]vainFetch:
		*v = []vainFetch{{At: recordTime(0), By: "x"}}
	default:
		for _, inner := range field.Fields() {
			fillField(t, inner)
		}
	}
}

func TestMergeHigherGenerationWins(t *testing.T) {
	older := record{
		Generation: 7, AccessToken: "zzz", FetchedAt: recordTime(900), CheckedAt: recordTime(900),
		ExpiresAt: recordTime(9_000), HandedOutAgain: 2, RejectedInARow: 9,
	}
	newer := record{Generation: 8, AccessToken: "aaa", FetchedAt: recordTime(0), CheckedAt: recordTime(0), ExpiresAt: recordTime(1)}
	for _, got := range []record{merge(older, newer), merge(newer, older)} {
		if !reflect.DeepEqual(got, newer) {
			t.Errorf("got %+v, want %+v", got, newer)
		}
	}
}

// Inputs go on being used: what merge returns must not share memory with them.
func TestMergeSharesNothing(t *testing.T) {
	a := record{Forced: make([]time.Time, 1, 8)}
	a.Forced[0] = recordTime(1)
	b := record{Forced: make([]time.Time, 1, 8)}
	b.Forced[0] = recordTime(2)
	m := merge(a, b)
	m.Forced[0] = recordTime(3)
	_ = append(m.Forced, recordTime(4))
	if !a.Forced[0].Equal(recordTime(1)) || !b.Forced[0].Equal(recordTime(2)) || !a.Forced[:2][1].IsZero() {
		t.Error("merge changed its input")
	}
}

func TestNextGeneration(t *testing.T) {
	now := recordTime(0)
	for _, tc := range []struct {
		name             string
		generation, want int64
	}{
		{"the first", 0, now.UnixMilli()},
		{"after an older one", now.UnixMilli() - 1_000, now.UnixMilli()},
		{"twice in a millisecond", now.UnixMilli(), now.UnixMilli() + 1},
		{"with a clock that is behind", now.UnixMilli() + 1_000_000, now.UnixMilli() + 1_000_001},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := record{Generation: tc.generation}
			if got := r.nextGeneration(now); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

func TestRecordFailure(t *testing.T) {
	for _, tc := range []struct {
		name   string
		record record
		want   bool
	}{
		{"nothing yet", record{}, false},
		{"success", record{Generation: 5, Attempt: attempt{Number: 1, Generation: 5}}, false},
		{"failed before the first token", record{Attempt: attempt{Number: 1, Failures: 1}}, true},
		{"failed since", record{Generation: 5, Attempt: attempt{Number: 2, Generation: 5, Failures: 1}}, true},
		{"a newer token has come since", record{Generation: 6, Attempt: attempt{Number: 2, Generation: 5, Failures: 3}}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := tc.record.failure()
			if (got != nil) != tc.want || got != nil && got != &tc.record.Attempt {
				t.Errorf("failure() = %+v", got)
			}
		})
	}
}

// One definition of the budget: the day that is shown is the day that decides.
func TestForceBudget(t *testing.T) {
	p := &Policy{ForcesPerDay: 3, ForceGap: 30 * time.Second, Zone: beijing}
	midnight := p.dayBefore(recordTime(0))
	r := record{Forced: []time.Time{midnight.Add(-time.Minute), midnight, midnight.Add(time.Minute)}}
	for _, c := range []struct {
		at   time.Duration
		used int
		may  bool
	}{
		{time.Minute + 29*time.Second, 2, false},
		{time.Minute + 30*time.Second, 2, true},
		{24*time.Hour - 1, 2, true},
		{24 * time.Hour, 0, true},
	} {
		now := midnight.Add(c.at)
		if used, may := r.quotas(p, now, 0).Forced.Used, r.mayForce(p, now); used != c.used || may != c.may {
			t.Errorf("after %v: %d used, may force: %t", c.at, used, may)
		}
	}
	r.Forced = append(r.Forced, midnight.Add(2*time.Minute))
	if r.mayForce(p, midnight.Add(23*time.Hour)) || !r.mayForce(p, midnight.Add(24*time.Hour)) {
		t.Error("the budget is none of the day's")
	}
}

// The budget is shared: what two processes forced counts together, once.
func TestForcedMerged(t *testing.T) {
	p := &Policy{ForcesPerDay: 20}
	a := record{Forced: []time.Time{recordTime(10), recordTime(40)}}
	b := record{Forced: []time.Time{recordTime(20), recordTime(40)}}
	m := merge(a, b)
	if n := m.forcedToday(p, recordTime(50)); n != 3 {
		t.Errorf("forced %d times", n)
	}
}

// What is forgotten of a long list is the oldest.
func TestForcedKept(t *testing.T) {
	var even, odd record
	for s := 0; s < 2*maxForcedKept; s += 2 {
		even.Forced = append(even.Forced, recordTime(s))
		odd.Forced = append(odd.Forced, recordTime(s+1))
	}
	m := merge(even, odd)
	if len(m.Forced) != maxForcedKept || !m.Forced[0].Equal(recordTime(maxForcedKept)) {
		t.Errorf("%d kept, from %v", len(m.Forced), m.Forced[0])
	}
}

func TestRecordJSON(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 500 {
		r := randomRecord(rng)
		data, err := r.marshal()
		if err != nil {
			t.Fatal(err)
		}
		got, err := unmarshalRecord(data)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Fatalf("%s\ngot  %+v, %v\nwant %+v", data, got, err, r)
		}
	}
}

// A process in another time zone, and with a monotonic clock, has the same
// record once it comes back from the store.
func TestRecordJSONClock(t *testing.T) {
	now := time.Now().In(beijing)
	r := record{Generation: 1, AccessToken: "T", FetchedAt: now, CheckedAt: now, ExpiresAt: now.Add(time.Hour), Forced: []time.Time{now}}
	r.Attempt = attempt{Number: 1, Generation: 1, At: now}
	data, err := r.marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := unmarshalRecord(data)
	if err != nil || !got.equal(&r) {
		t.Fatalf("got %+v, %v; want %+v", got, err, r)
	}
	m := merge(got, r)
	if !m.equal(&r) || len(m.Forced) != 1 {
		t.Errorf("merged with itself: %+v", m)
	}
}

func TestUnmarshalRecord(t *testing.T) {
	for _, data := range []string{`{}`, `{"attempt":{"number":3,"generation":0,"failures":3}}`, `{"generation":1,"access_token":"T","new_field":1}`} {
		if _, err := unmarshalRecord([]byte(data)); err != nil {
			t.Errorf("%s: %v", data, err)
		}
	}
	for _, data := range []string{
		``, `x`, `[]`, `"weixin"`, `{"generation":1}`, `{"access_token":"T"}`, `{"generation":0,"access_token":"T"}`,
		`{"generation":-1,"access_token":"T"}`, `{"generation":"1","access_token":"T"}`, `{"generation":1,"access_token":"T"`,
		`{"generation":1,"access_token":"T","expires_at":"tomorrow"}`, `{"generation":1,"access_token":"T"}{}`,
	} {
		if r, err := unmarshalRecord([]byte(data)); err == nil || !reflect.DeepEqual(r, record{}) {
			t.Errorf("%s: got %+v, %v", data, r, err)
		}
	}
}

// An error of a damaged record goes into a log line.
func TestUnmarshalRecordShowsNoToken(t *testing.T) {
	for _, data := range []string{
		`{"access_token":"SECRETTOKEN"}`, `{"generation":"SECRETTOKEN"}`, `{"access_token":"SECRETTOKEN",}`, `SECRETTOKEN`,
		`{"fetched_at":{"access_token":"SECRETTOKEN"}}`,
	} {
		_, err := unmarshalRecord([]byte(data))
		if text := fmt.Sprintf("%v %+v", err, err); err == nil || strings.Contains(text, "SECRETTOKEN") {
			t.Errorf("%s: %s", data, text)
		}
	}
}

// FuzzUnmarshalRecord checks that what is accepted can be used and kept.
func FuzzUnmarshalRecord(f *testing.F) {
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"generation":1,"access_token":"T","expires_at":"2026-03-01T00:00:00Z","attempt":{"number":1,"generation":1},"forced":["2026-03-01T00:00:00+08:00"]}`))
	f.Add([]byte(`{"generation":1}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := unmarshalRecord(data)
		if err != nil {
			return
		}
		if (r.Generation > 0) != (r.AccessToken != "") {
			t.Fatalf("accepted: %+v", r)
		}
		again, err := r.marshal()
		if err != nil {
			t.Fatal(err)
		}
		got, err := unmarshalRecord(again)
		if err != nil || !got.equal(&r) {
			t.Fatalf("%s\ngot  %+v, %v\nwant %+v", again, got, err, r)
		}
		m := merge(r, record{})
		if mm := merge(m, r); !mm.equal(&m) {
			t.Fatalf("merge is not idempotent for %+v", r)
		}
	})
}
