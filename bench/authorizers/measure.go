package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/platform"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
	"github.com/caddy-weixin/caddy-weixin/store"
)

// place is a store and how many authorizers are in it.
type place struct {
	title       string
	authorizers int
	open        func(ctx context.Context, dir, at string) (string, *opened, error)
}

// column is what was measured of a place.
type column struct {
	title string
	rows  []row
}

type row struct{ name, value string }

func (c *column) add(name, format string, values ...any) {
	c.rows = append(c.rows, row{name, fmt.Sprintf(format, values...)})
}

// newPlatform returns a platform of a process of its own.
func newPlatform(st store.Store, w *weChat, inMemory int) (*platform.Platform, error) {
	return platform.New(platform.Config{
		Name:        platformName,
		Credentials: wechat.Credentials{ID: componentAppID, Secret: componentSecret},
		Upstream:    &url.URL{Scheme: "https", Host: "api.weixin.qq.com"},
		Observer:    account.Unobserved{},
		InMemory:    inMemory,
		Manager:     credential.NewManager(credential.Config{Store: st, Process: credential.NewProcess(), Logger: zap.NewNop()}),
		Store:       st,
		Endpoints:   w,
		Runner:      func(string) (*credential.Runner, error) { return credential.NewRunner(), nil },
		Logger:      zap.NewNop(),
	})
}

// measure fills a place and measures it.
func (p *place) measure(ctx context.Context, dir string, use int, progress io.Writer) (column, error) {
	c := column{title: fmt.Sprintf("%s authorizers in %s", grouped(p.authorizers), p.title)}
	at, st, err := p.open(ctx, dir, "")
	if err != nil {
		return c, err
	}
	defer st.close()
	before, _, err := st.size()
	if err != nil {
		return c, err
	}
	fmt.Fprintf(progress, "filling %s with %d authorizers\n", p.title, p.authorizers)
	f, err := p.fill(ctx, at)
	if err != nil {
		return c, err
	}
	after, values, err := st.size()
	if err != nil {
		return c, err
	}
	c.add("bytes in the store for each", "%s", grouped(int((after-before)/int64(p.authorizers))))
	c.add("values in the store", "%s", grouped(int(values)))
	c.add("filling it, all at once", "%s", seconds(f.Took))
	c.add("`sync` where all is there: list, comparison, index", "%s", seconds(f.Synced))
	c.add("`sync` into an empty store, for each", "%s", short(f.Saved))
	fmt.Fprintf(progress, "meeting %d of them\n", use)
	err = p.meet(ctx, st, use, &c)
	return c, err
}

// renewedEvery is how often a token is renewed that is in use and lives for two
// hours: 10 to 8 minutes before its end.
const renewedEvery = 111 * time.Minute

// meet measures a process that meets some of the authorizers.
func (p *place) meet(ctx context.Context, st store.Store, use int, c *column) error {
	w := &weChat{authorizers: p.authorizers}
	pf, err := newPlatform(st, w, 100_000)
	if err != nil {
		return err
	}
	pf.KeepWarm()
	met := make([]string, use)
	for i, n := range rand.Perm(p.authorizers)[:use] {
		met[i] = appID(n)
	}
	heap, resident := memory()
	first, err := each(met, func(appID string) error { return token(ctx, pf, appID) })
	if err != nil {
		return err
	}
	heapIn, residentIn := memory()
	later, err := each(met, func(appID string) error { return token(ctx, pf, appID) })
	if err != nil {
		return err
	}
	c.add("resident memory before, with "+grouped(use)+" in use", "%d MiB, %d MiB", resident>>20, residentIn>>20)
	c.add("heap for each in use", "%.1f KB", float64(heapIn-heap)/float64(use)/1000)
	c.add("first request of one: its token, p50 / p99", "%s", first)
	c.add("later ones, p50 / p99", "%s", later)
	c.add("tokens fetched from WeChat for that", "%d", w.fetched.Load())
	c.add("the same in an hour, while they are in use (computed)", "%s", grouped(int(int64(use)*int64(time.Hour)/int64(renewedEvery))))
	return p.manage(ctx, pf, c)
}

// manage measures what is done with the index.
func (p *place) manage(ctx context.Context, pf *platform.Platform, c *column) error {
	const times = 200
	var some []string
	for n := range times {
		some = append(some, appID(p.authorizers+n))
	}
	for _, do := range []struct {
		name string
		f    func(appID string) error
	}{
		{"a push of `authorized`: record and index, p50 / p99", func(appID string) error { return pf.Authorized(ctx, appID, time.Now()) }},
		{"100 of the list, p50 / p99", func(appID string) error { _, _, err := pf.List(ctx, appID, 100); return err }},
		{"counting all, p50 / p99", func(string) error { _, _, err := pf.Count(ctx); return err }},
		{"a push of `unauthorized`, p50 / p99", func(appID string) error { return pf.Unauthorized(ctx, appID, time.Now().Add(time.Second)) }},
	} {
		took, err := each(some, do.f)
		if err != nil {
			return fmt.Errorf("%s: %w", do.name, err)
		}
		c.add(do.name, "%s", took)
	}
	known, _, err := pf.Count(ctx)
	if err == nil && known != p.authorizers {
		err = fmt.Errorf("%d authorizers are known, not %d", known, p.authorizers)
	}
	pf.Release(ctx)
	runtime.KeepAlive(pf)
	if closeErr := pf.Close(); err == nil {
		err = closeErr
	}
	return err
}

// token gets an authorizer's token, as a request does.
func token(ctx context.Context, pf *platform.Platform, appID string) error {
	a, err := pf.Authorizer(ctx, appID)
	if err != nil {
		return err
	}
	t, err := a.Token(ctx)
	if err == nil && t.Secret() != accessToken(appID) {
		return fmt.Errorf("%s has another's token", appID)
	}
	return err
}

// took are the times that something took, in order.
type took []time.Duration

func (t took) String() string {
	return fmt.Sprintf("%s / %s", short(t[len(t)/2]), short(t[len(t)*99/100]))
}

// each does something with one after the other.
func each(appIDs []string, f func(appID string) error) (took, error) {
	var t took
	for _, appID := range appIDs {
		begun := time.Now()
		if err := f(appID); err != nil {
			return nil, err
		}
		t = append(t, time.Since(begun))
	}
	slices.Sort(t)
	return t, nil
}

// memory returns how much is in use, and how much the system has given.
func memory() (heap, resident uint64) {
	runtime.GC()
	debug.FreeOSMemory()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	status, err := os.ReadFile("/proc/self/statm")
	if fields := bytes.Fields(status); err == nil && len(fields) > 1 {
		pages, _ := strconv.ParseUint(string(fields[1]), 10, 64)
		resident = pages * uint64(os.Getpagesize())
	}
	return stats.HeapAlloc, resident
}

func short(d time.Duration) string {
	switch {
	case d < 10*time.Microsecond:
		return fmt.Sprintf("%.1f µs", float64(d)/float64(time.Microsecond))
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d/time.Microsecond)
	default:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.0f s", d.Seconds()) }

// grouped returns a number with commas.
func grouped(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// writeTable prints what was measured.
func writeTable(w io.Writer, columns []column) {
	if len(columns) == 0 {
		return
	}
	fmt.Fprint(w, "|")
	for _, c := range columns {
		fmt.Fprintf(w, " | %s", c.title)
	}
	fmt.Fprint(w, " |\n|---|")
	for range columns {
		fmt.Fprint(w, "---|")
	}
	for i, r := range columns[0].rows {
		fmt.Fprintf(w, "\n| %s |", r.name)
		for _, c := range columns {
			fmt.Fprintf(w, " %s |", c.rows[i].value)
		}
	}
	fmt.Fprintln(w)
}
