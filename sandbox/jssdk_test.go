package sandbox_test

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func sign(ticket, timestamp, address string) string {
	sum := sha1.Sum([]byte("jsapi_ticket=" + ticket + "&noncestr=n&timestamp=" + timestamp + "&url=" + address))
	return hex.EncodeToString(sum[:])
}

func (ts tester) verify(appID, agent, timestamp, address, signature string) answer {
	return ts.post("/sandbox/jssdk/verify", fmt.Sprintf(
		`{"appId":%q,%s"timestamp":%s,"nonceStr":"n","url":%q,"signature":%q}`, appID, agent, timestamp, address, signature))
}

func TestVerify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTester(t, weComConfig())
		now := fmt.Sprint(time.Now().Unix())
		const page = "https://shop.example.com/a?b=c&d=%E4%BD%A0"
		want := func(what string, a answer) {
			t.Helper()
			if what == "" {
				if got := a.Body.String(); got != "{\"ok\":true}\n" {
					t.Errorf("%s", got)
				}
				return
			}
			if a.json()["ok"] != false || a.text("differs") != what || a.text("why") == "" {
				t.Errorf("%s, want %s", a.Body, what)
			}
		}
		want("ticket", ts.verify(appID, "", now, page, "x"))
		ticket := ts.get("/cgi-bin/ticket/getticket?type=jsapi&access_token=" + ts.token()).text("ticket")
		good := sign(ticket, now, page)
		want("", ts.verify(appID, "", now, page, good))
		want("", ts.verify(appID, "", `"`+now+`"`, page, good))
		want("", ts.verify(appID, `"agent":null,`, now, page, good))
		want("appId", ts.verify("wx9", "", now, page, good))
		want("url", ts.verify(appID, "", now, page+"#x", sign(ticket, now, page+"#x")))
		want("url", ts.verify(appID, "", now, "shop.example.com", good))
		want("url", ts.verify(appID, "", now, page, sign(ticket, now, "https://shop.example.com/a")))
		want("url", ts.verify(appID, "", now, page, sign(ticket, now, url.QueryEscape(page))))
		want("timestamp", ts.verify(appID, "", now+"000", page, sign(ticket, now+"000", page)))
		want("timestamp", ts.verify(appID, "", `"soon"`, page, good))
		want("signature", ts.verify(appID, "", now, page, strings.ToUpper(good)))
		want("signature", ts.verify(appID, "", now, page, sign("x", now, page)))
		want("signature", ts.verify(appID, "", now, page, sign(ts.get("/cgi-bin/ticket/getticket?type=wx_card&access_token="+ts.token()).text("ticket"), now, page)))

		weCom := "access_token=" + ts.weComToken("ww1", "s2")
		corp := ts.get("/cgi-bin/get_jsapi_ticket?" + weCom).text("ticket")
		agent := ts.get("/cgi-bin/ticket/get?type=agent_config&" + weCom).text("ticket")
		want("", ts.verify("ww1", "", now, page, sign(corp, now, page)))
		want("", ts.verify("ww1", `"agent":1000002,`, now, page, sign(agent, now, page)))
		want("", ts.verify("ww1", `"agent":"1000002",`, now, page, sign(agent, now, page)))
		want("", ts.verify("ww1", `"corpid":"ww1","agentid":1000002,`, now, page, sign(agent, now, page)))
		want("signature", ts.verify("ww1", `"agent":1000002,`, now, page, sign(corp, now, page)))
		want("agent", ts.verify("ww1", `"agent":9,`, now, page, sign(agent, now, page)))
		want("ticket", ts.verify("ww1", `"agent":1000003,`, now, page, sign(agent, now, page)))

		ts.post(control+"/rotate_tickets", "")
		want("ticket", ts.verify(appID, "", now, page, good))
		next := ts.get("/cgi-bin/ticket/getticket?type=jsapi&access_token=" + ts.token()).text("ticket")
		want("ticket", ts.verify(appID, "", now, page, good))
		want("", ts.verify(appID, "", now, page, sign(next, now, page)))
		time.Sleep(2 * time.Hour)
		want("ticket", ts.verify(appID, "", now, page, sign(next, now, page)))

		if a := ts.post("/sandbox/jssdk/verify", "{"); a.Code != http.StatusBadRequest {
			t.Errorf("%d %s", a.Code, a.Body)
		}
	})
}

func TestWhoMayVerify(t *testing.T) {
	ts := newTester(t, weComConfig())
	for header, want := range map[string]int{
		"Sec-Fetch-Site: same-origin":  200,
		"Sec-Fetch-Site: cross-site":   403,
		"Origin: http://example.com":   200, // the request's own host
		"Origin: https://evil.example": 403,
	} {
		r := httptest.NewRequest(http.MethodPost, "/sandbox/jssdk/verify", strings.NewReader("{}"))
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Set(name, value)
		if a := ts.do(r); a.Code != want {
			t.Errorf("%s: %d, want %d", header, a.Code, want)
		}
	}
	page := ts.get("/sandbox/jssdk")
	if page.Code != http.StatusOK || !strings.Contains(page.Body.String(), "wx.config") || page.Header().Get("Content-Security-Policy") == "" {
		t.Errorf("%d %v", page.Code, page.Header())
	}
}
