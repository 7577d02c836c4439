package statuspage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

func TestBars(t *testing.T) {
	counts := make([]int, 30)
	if got := bars(counts, 0, 1); got != "" {
		t.Errorf("got %s for nothing", got)
	}
	counts[0], counts[29] = 1, 2
	if got, want := bars(counts, 2, -1), "M2 13v-4M118 13v-8"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	counts[29] = 1000
	if got, want := bars(counts, 1000, 1), "M2 13v2M118 13v12"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

var now = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// fine returns an account that needs nothing, changed as wanted.
func fine(name string, change func(*Account)) Account {
	a := Account{
		Name: name, Kind: kindOfficial, ID: "wx-" + name, Method: "stable", State: credential.OK, Usable: true, Healthy: true,
		Fingerprint: "01234567", FetchedAt: now.Add(-time.Hour), HandedOutAt: now.Add(-time.Minute), ExpiresAt: now.Add(time.Hour),
		FetchHistory: make([]int, 30), ReplayHistory: make([]int, 30), Data: name,
	}
	a.Quotas.Fetches.Limit = 500_000
	if change != nil {
		change(&a)
	}
	return a
}

func failure(ago time.Duration) *Failure {
	return &Failure{Errcode: 40164, Message: "invalid ip", At: now.Add(-ago), Advice: "Add it."}
}

func rejected(a *Account) {
	a.State, a.Healthy, a.Since, a.Advice = credential.Refused, false, now.Add(-time.Minute), "Compare appid."
}

func backingOff(a *Account) {
	a.State, a.Usable, a.Healthy, a.LastError = credential.BackOff, false, false, failure(time.Second)
	a.Since, a.RetryAt, a.Advice = now.Add(-time.Second), now.Add(time.Minute), "Add it."
}

func usableStill(a *Account) {
	backingOff(a)
	a.Usable, a.Healthy = true, true
}

func render(t *testing.T, v *view) string {
	t.Helper()
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, "main", v.withButtons("token")); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A ticket has a line, with the last error if there is one.
func TestTickets(t *testing.T) {
	accounts := []Account{fine("shop", func(a *Account) {
		a.Tickets = []Ticket{
			{Type: "jsapi", Fingerprint: "89abcdef", ConfirmedAt: now.Add(-time.Minute)},
			{Type: "wx_card", LastError: &Failure{Errcode: 48001, Message: "api <unauthorized>", At: now.Add(-time.Second)}},
		}
	})}
	html := render(t, newView(&texts[wechat.English], accounts, "", now))
	for _, want := range []string{
		`Ticket jsapi <code title="The ticket&#39;s fingerprint: the first digits of its SHA-256">89abcdef</code> · confirmed <time datetime="2026-11-26T11:59:00Z">`,
		`Ticket wx_card · Last error 48001 <code>api &lt;unauthorized&gt;</code> · <time datetime="2026-11-26T11:59:59Z">`,
	} {
		if !strings.Contains(html, want) {
			t.Errorf("no %s in %s", want, html)
		}
	}
	if n := strings.Count(html, `class="ticket"`); n != len(accounts[0].Tickets) {
		t.Errorf("%d lines", n)
	}
}

// What needs attention comes first, the worst of it before the rest.
func TestOrder(t *testing.T) {
	accounts := []Account{
		fine("a-renewing", func(a *Account) { a.State = credential.Renewing }),
		fine("b-empty", func(a *Account) { a.State, a.Usable, a.Fingerprint = credential.Empty, false, "" }),
		fine("c-warned", func(a *Account) { a.Warnings = []string{"Mind it."} }),
		fine("d-usable", usableStill),
		fine("e-backoff", backingOff),
		fine("f-ok", nil),
		fine("g-rejected", rejected),
		fine("h-rejected", rejected),
		fine("i-retrying", func(a *Account) {
			backingOff(a)
			a.State, a.RetryAt = credential.Renewing, time.Time{}
		}),
		fine("j-warned", func(a *Account) { a.Warnings = []string{"Mind it."} }),
	}
	v := newView(&texts[wechat.English], accounts, "", now)
	var order []string
	for i := range v.Rows {
		order = append(order, v.Rows[i].Name)
	}
	want := []string{"g-rejected", "h-rejected", "e-backoff", "i-retrying", "d-usable", "c-warned", "j-warned", "a-renewing", "b-empty", "f-ok"}
	if !slices.Equal(order, want) {
		t.Errorf("got  %q\nwant %q", order, want)
	}
	if !slices.Equal(v.attention, want[:7]) || v.Headline != "7 of 10 need attention:" || v.Severity != severityBad {
		t.Errorf("got %q, %q, %s", v.attention, v.Headline, v.Severity)
	}
	if !slices.Equal(v.Named, want[:5]) || v.Unnamed != 2 || !strings.Contains(render(t, v), "<span>+2</span>") {
		t.Errorf("got %q and %d", v.Named, v.Unnamed)
	}
	// Programs get them by name.
	if d := v.data(); len(d.Accounts) != len(accounts) || len(d.Attention) != 7 {
		t.Errorf("got %+v", d)
	}
}

// A failure is no trouble any more once WeChat has handed out a token, be it the
// same one; while it is asked again it still is.
func TestFailureThatIsOver(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Account)
		over   bool
	}{
		{"back-off", backingOff, false},
		{"ok", func(a *Account) { a.LastError = failure(time.Hour) }, true},
		{"rejected", func(a *Account) { rejected(a); a.LastError = failure(time.Hour) }, true},
		{"rejected, and then refused", func(a *Account) { rejected(a); a.LastError = failure(time.Second) }, false},
		{"ok, and an operator has asked in vain", func(a *Account) { a.LastError = failure(time.Second) }, false},
		{"asked again", func(a *Account) { a.State, a.LastError = credential.Renewing, failure(time.Second) }, false},
		{"renewed in time", func(a *Account) { a.State, a.LastError = credential.Renewing, failure(2*time.Hour) }, true},
		{"the same token", func(a *Account) { a.State, a.LastError = credential.Renewing, failure(30*time.Minute) }, true},
		{"never a token", func(a *Account) {
			*a = Account{Name: a.Name, State: credential.Empty, LastError: failure(time.Second)}
		}, false},
	} {
		a := fine("shop", c.change)
		r := newRow(&texts[wechat.English], &a, now)
		if (r.Past != nil) != c.over || (r.Failing != nil) == c.over {
			t.Errorf("%s: got %v, %v", c.name, r.Failing, r.Past)
		}
		page := render(t, newView(&texts[wechat.English], []Account{a}, "", now))
		if strings.Contains(page, "Last error 40164") != c.over || strings.Contains(page, ">Error 40164<") == c.over {
			t.Errorf("%s: the page says otherwise:\n%s", c.name, page)
		}
	}
}

// A warning takes nothing from the state's own word and colour.
func TestWarning(t *testing.T) {
	for _, c := range []struct {
		lang wechat.Language
		want string
	}{{wechat.English, "OK</p> <p class=\"state warn\">"}, {wechat.Chinese, "正常</p> <p class=\"state warn\">"}} {
		page := render(t, newView(&texts[c.lang], []Account{fine("shop", func(a *Account) { a.Warnings = []string{"Mind it."} })}, "", now))
		if !strings.Contains(page, `<p class="state ok">`) || !strings.Contains(page, c.want) || strings.Count(page, "Mind it.") != 1 {
			t.Errorf("got %s", page)
		}
	}
}

// What is wrong is said in one place.
func TestFailureIsShownOnce(t *testing.T) {
	for name, a := range map[string]Account{"back-off": fine("shop", backingOff), "rejected": fine("shop", rejected), "usable": fine("shop", usableStill)} {
		page := render(t, newView(&texts[wechat.English], []Account{a}, "", now))
		for _, text := range []string{a.Advice, "invalid ip"} {
			if n := strings.Count(page, text); n != 1 && (a.LastError != nil || text == a.Advice) {
				t.Errorf("%s: %q is shown %d times:\n%s", name, text, n, page)
			}
		}
		if !strings.Contains(page, "Since <time") {
			t.Errorf("%s: it does not say since when:\n%s", name, page)
		}
	}
	// A trouble of all accounts is one of the page.
	v := newView(&texts[wechat.English], []Account{fine("a", nil), fine("b", nil)}, "The store fails.", now)
	if page := render(t, v); strings.Count(page, "The store fails.") != 1 || v.Headline != "The store needs attention" || v.Severity != severityWarn {
		t.Errorf("got %q, %s:\n%s", v.Headline, v.Severity, page)
	}
	if d := v.data(); !slices.Equal(d.Attention, []string{"a", "b"}) {
		t.Errorf("programs are told of %q", d.Attention)
	}
}

func TestUnreachable(t *testing.T) {
	for lang, want := range []string{"Unreachable", "无法访问"} {
		for _, change := range []func(*Account){backingOff, func(a *Account) { a.LastError = failure(time.Hour) }} {
			page := render(t, newView(&texts[lang], []Account{fine("shop", func(a *Account) {
				change(a)
				a.LastError.Errcode, a.LastError.Message = 0, "dial tcp: no such host"
			})}, "", now))
			if !strings.Contains(page, want) || strings.Contains(page, "Error 0") || strings.Contains(page, "错误 0") {
				t.Errorf("got %s", page)
			}
		}
	}
}

// Few accounts need no filter.
func TestFilter(t *testing.T) {
	for _, n := range []int{1, filterFrom - 1, filterFrom, 60} {
		var accounts []Account
		for i := range n {
			accounts = append(accounts, fine(fmt.Sprintf("account-%02d", i), nil))
		}
		page := render(t, newView(&texts[wechat.English], accounts, "", now))
		if has := strings.Contains(page, `type="search"`); has != (n >= filterFrom) {
			t.Errorf("%d accounts: %v", n, has)
		}
		if n < filterFrom {
			continue
		}
		for _, part := range []string{`<option value="attention">Needs attention</option>`, `<option value="rejected">Rejected</option>`, `data-state="ok"`, `aria-label="Name or ID"`} {
			if !strings.Contains(page, part) {
				t.Errorf("there is no %s", part)
			}
		}
	}
	if got, want := len((*view)(nil).States()), len(credential.States); got != want {
		t.Errorf("the filter has %d states of %d", got, want)
	}
}

// A kind is mentioned that is not the usual one, known or not.
func TestKind(t *testing.T) {
	for kind, want := range map[string]string{"official": "<p>wx-shop · stable</p>", "": "<p>wx-shop · stable</p>", "wecom": "<p>企业微信 · wx-shop · stable</p>", "new": "<p>new · wx-shop · stable</p>"} {
		page := render(t, newView(&texts[wechat.Chinese], []Account{fine("shop", func(a *Account) { a.Kind = kind })}, "", now))
		if !strings.Contains(page, want) {
			t.Errorf("%s: there is no %s", kind, want)
		}
	}
}

func TestCountsHaveSeparators(t *testing.T) {
	for lang := range texts {
		page := render(t, newView(&texts[lang], []Account{fine("shop", func(a *Account) {
			a.Fetches, a.Replays, a.FetchHistory[29] = 1234, 5678901, 4321
			a.Quotas.Fetches.Used = 123456
			a.Quotas.Forced = &credential.Quota{Used: 1, Limit: 2000}
		})}, "", now))
		for _, want := range []string{"1,234", "5,678,901", "4,321", "123,456 / 500,000", "1 / 2,000"} {
			if !strings.Contains(page, want) {
				t.Errorf("language %d: there is no %s", lang, want)
			}
		}
	}
}

// Where there is no quota, none is shown.
func TestNoQuota(t *testing.T) {
	page := render(t, newView(&texts[wechat.English], []Account{fine("shop", func(a *Account) {
		a.Quotas.Fetches = credential.Quota{Used: 4321}
	})}, "", now))
	if !strings.Contains(page, "4,321") || strings.Contains(page, "4,321 /") {
		t.Error(page)
	}
}

func TestStatusForPrograms(t *testing.T) {
	t503, t200 := http.StatusServiceUnavailable, http.StatusOK
	for _, c := range []struct {
		accounts []Account
		want     int
	}{
		{nil, t200},
		{[]Account{fine("a", nil), fine("b", rejected)}, t200},
		{[]Account{fine("a", backingOff), fine("b", rejected)}, t503},
		{[]Account{fine("a", usableStill)}, t200},
	} {
		v := newView(&texts[wechat.English], c.accounts, "", now)
		if got := v.status(); got != c.want {
			t.Errorf("got %d, want %d", got, c.want)
		}
		if text, err := json.Marshal(v.data()); err != nil || strings.Contains(string(text), "null,") || strings.Contains(string(text), ":null") {
			t.Errorf("got %s, %v", text, err)
		}
	}
}
