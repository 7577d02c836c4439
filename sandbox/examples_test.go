package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// example calls the paths of the reference as they stand there.
type example struct {
	t      *testing.T
	server *Server
	routes table
	token  string
}

func newExample(t *testing.T, kind credential) *example {
	t.Helper()
	s, err := New(Config{
		Accounts: []Account{{AppID: DemoAppID, AppSecret: DemoAppSecret}},
		Components: []Component{{
			AppID: "wxcomponent", Secret: "component-secret", PushToken: "push",
			PushAESKey: strings.Repeat("k", 43), Authorizers: []string{"wxauthorizer"},
		}},
		Corps: []Corp{{CorpID: "ww1", Agents: []Agent{{AgentID: "1000002", Secret: "agent-secret"}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	x := &example{t: t, server: s, routes: officialRoutes}
	if kind == agentToken {
		x.routes = weComRoutes
	}
	switch kind {
	case componentToken:
		x.token = x.value("/cgi-bin/component/api_component_token", "component_access_token")
	case agentToken:
		x.token = x.value("/cgi-bin/gettoken", "access_token")
	default:
		x.token = x.value("/cgi-bin/stable_token", "access_token")
	}
	return x
}

// call makes the example's request.
func (x *example) call(r *route) map[string]any {
	x.t.Helper()
	rec := x.raw(r)
	if r.handle == nil || !strings.Contains(rec.Header().Get("Content-Type"), "json") && !bytes.HasPrefix(rec.Body.Bytes(), []byte("{")) {
		return map[string]any{}
	}
	var answer map[string]any
	if err := json.Unmarshal(rec.Body.Bytes(), &answer); err != nil {
		x.t.Fatalf("%s: %s", r.path, rec.Body)
	}
	return answer
}

func (x *example) raw(r *route) *httptest.ResponseRecorder {
	x.t.Helper()
	return x.send(r, x.fill(r.example))
}

func (x *example) send(r *route, text string) *httptest.ResponseRecorder {
	query, body, contentType := "", "", ""
	switch {
	case r.method == http.MethodGet:
		query = text
	case r.reads == mediaBody:
		query = text
		var form bytes.Buffer
		w := multipart.NewWriter(&form)
		part, _ := w.CreateFormFile("media", "a.png")
		_, _ = part.Write([]byte("\x89PNG\r\n\x1a\n"))
		_ = w.Close()
		body, contentType = form.String(), w.FormDataContentType()
	default:
		body = text
	}
	if !strings.Contains(query, "access_token=") && r.takes != noToken {
		name := "access_token"
		if r.takes == componentToken {
			name = "component_access_token"
		}
		query += "&" + name + "=" + x.token
	}
	target := r.path + "?" + strings.TrimPrefix(query, "&")
	req := httptest.NewRequest(r.method, strings.Replace(target, "&?", "&", 1), strings.NewReader(body))
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	rec := httptest.NewRecorder()
	x.server.ServeHTTP(rec, req)
	return rec
}

// value makes the example's request to a path and returns a member of the
// answer.
func (x *example) value(path, name string) string {
	x.t.Helper()
	value := member(x.call(x.routes[path]), name)
	if value == nil {
		x.t.Fatalf("%s gave no %s", path, name)
	}
	if n, ok := value.(float64); ok {
		return fmt.Sprintf("%.0f", n)
	}
	return value.(string)
}

var placeholder = regexp.MustCompile(`\{[a-z_]+\}`)

// fill puts in what the reference leaves open.
func (x *example) fill(text string) string {
	return placeholder.ReplaceAllStringFunc(text, func(name string) string {
		switch name {
		case "{appid}":
			return DemoAppID
		case "{secret}":
			return DemoAppSecret
		case "{component}":
			return "wxcomponent"
		case "{component_secret}":
			return "component-secret"
		case "{verify_ticket}":
			return x.server.components["wxcomponent"].newTicket(time.Now()).value
		case "{authorizer}":
			return "wxauthorizer"
		case "{refresh_token}":
			return x.server.components["wxcomponent"].authorizers["wxauthorizer"].refresh
		case "{authorization_code}":
			code, _ := x.server.newAuthorization(x.server.components["wxcomponent"], "wxauthorizer")
			return code
		case "{corpid}":
			return "ww1"
		case "{corpsecret}":
			return "agent-secret"
		case "{agentid}":
			return "1000002"
		case "{external_userid}":
			return x.server.corps["ww1"].customerIDs()[0]
		case "{openid}":
			return x.server.accounts[0].followers()[0]
		case "{yesterday}":
			return time.Now().In(beijing).AddDate(0, 0, -1).Format(time.DateOnly)
		case "{rid}":
			var failed struct{ Errmsg string }
			rec := x.send(officialRoutes["/cgi-bin/user/info"], "")
			if err := json.Unmarshal(rec.Body.Bytes(), &failed); err != nil {
				x.t.Fatal(err)
			}
			_, rid, _ := strings.Cut(failed.Errmsg, " rid: ")
			return rid
		}
		source, known := made[name]
		if !known {
			x.t.Fatalf("nobody makes a %s", name)
		}
		return x.value(source[0], source[1])
	})
}

// made says which path makes what a placeholder stands for.
var made = map[string][2]string{
	"{tag}":                {"/cgi-bin/tags/create", "tag.id"},
	"{media}":              {"/cgi-bin/media/upload", "media_id"},
	"{material}":           {"/cgi-bin/material/add_material", "media_id"},
	"{wecom_media}":        {"/cgi-bin/media/upload", "media_id"},
	"{draft}":              {"/cgi-bin/draft/add", "media_id"},
	"{template}":           {"/cgi-bin/template/api_add_template", "template_id"},
	"{subscription}":       {"/wxaapi/newtmpl/addtemplate", "priTmplId"},
	"{mass}":               {"/cgi-bin/message/mass/sendall", "msg_id"},
	"{short}":              {"/cgi-bin/shorten/gen", "short_key"},
	"{user_token}":         {"/sns/oauth2/access_token", "access_token"},
	"{user_refresh_token}": {"/sns/oauth2/access_token", "refresh_token"},
}

// Every example of the reference works as it stands there.
func TestExamples(t *testing.T) {
	for path, r := range officialRoutes {
		t.Run(path, func(t *testing.T) {
			x := newExample(t, r.takes)
			switch {
			case path == "/sns/oauth2/component/refresh_token":
				var login struct {
					Refresh string `json:"refresh_token"`
				}
				if err := json.Unmarshal(x.raw(officialRoutes["/sns/oauth2/component/access_token"]).Body.Bytes(), &login); err != nil {
					t.Fatal(err)
				}
				wantNoErrcode(t, x.send(r, x.fill(strings.ReplaceAll(r.example, "{user_refresh_token}", login.Refresh))))
				return
			case path == "/cgi-bin/menu/get":
				x.call(officialRoutes["/cgi-bin/menu/create"])
			case strings.HasSuffix(r.example, "{user_openid}"):
				a := x.call(officialRoutes["/sns/oauth2/access_token"])
				text := strings.NewReplacer("{user_token}", a["access_token"].(string), "{user_openid}", a["openid"].(string)).Replace(r.example)
				wantNoErrcode(t, x.send(r, text))
				return
			}
			wantNoErrcode(t, x.raw(r))
		})
	}
}

func TestWeComExamples(t *testing.T) {
	for path, r := range weComRoutes {
		t.Run(path, func(t *testing.T) {
			x := newExample(t, agentToken)
			example := *r
			switch path {
			case "/cgi-bin/menu/get":
				create := *weComRoutes["/cgi-bin/menu/create"]
				create.path += "?agentid=1000002&"
				x.raw(&create)
			case "/cgi-bin/menu/create":
				example.path += "?agentid=1000002&"
			case "/cgi-bin/webhook/send":
				example.path += "?key=k&"
			}
			rec := x.raw(&example)
			wantNoErrcode(t, rec)
			if rec.Header().Get("Error-Code") != "0" || rec.Header().Get("Error-Msg") == "" && path != "/cgi-bin/media/upload" {
				t.Errorf("%v", rec.Header())
			}
			if r.method == http.MethodGet && path != "/cgi-bin/media/get" && !strings.Contains(rec.Body.String(), `"errcode":0,"errmsg":"ok"`) {
				t.Errorf("success has no errcode: %s", rec.Body)
			}
		})
	}
}

func wantNoErrcode(t *testing.T, rec *httptest.ResponseRecorder) {
	t.Helper()
	var answer struct{ Errcode int }
	_ = json.Unmarshal(rec.Body.Bytes(), &answer) // a picture is none
	if rec.Code != http.StatusOK || answer.Errcode != 0 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

// Every parameter that the reference gives an errcode gets it when it is
// missing, every method is the only one, and every token is checked first.
func TestParameters(t *testing.T) {
	var routes []*route
	for _, t := range []table{officialRoutes, weComRoutes} {
		routes = slices.AppendSeq(routes, maps.Values(t))
	}
	for _, r := range routes {
		if r.takes == noToken || r.fixedParam {
			continue
		}
		t.Run(r.path, func(t *testing.T) {
			x := newExample(t, r.takes)
			for _, p := range r.params {
				if p.errcode == success || p.accepts(nil) {
					continue
				}
				if r.method == http.MethodGet || r.reads == mediaBody {
					wantErrcode(t, x.send(r, ""), firstErrcode(r))
				} else {
					wantErrcode(t, x.send(r, "{}"), firstErrcode(r))
				}
			}
			if r.orPost {
				return
			}
			other := *r
			other.method = map[string]string{http.MethodGet: http.MethodPost, http.MethodPost: http.MethodGet}[r.method]
			wantErrcode(t, x.send(&other, ""), map[string]int{http.MethodGet: requireGET, http.MethodPost: requirePOST}[r.method])
			x.token = strings.Repeat("x", weComTokenLength)
			wantErrcode(t, x.send(&other, ""), invalidAccessToken)
			if r.reads == jsonBody {
				x = newExample(t, r.takes)
				wantErrcode(t, x.send(r, ""), emptyPostData)
				wantErrcode(t, x.send(r, "{"), dataFormatError)
			}
		})
	}
}

// firstErrcode is what a request without any parameter gets.
func firstErrcode(r *route) int {
	for _, p := range r.params {
		if p.errcode != success && !p.accepts(nil) {
			return p.errcode
		}
	}
	return success
}

func wantErrcode(t *testing.T, rec *httptest.ResponseRecorder, want int) {
	t.Helper()
	if want == success {
		return
	}
	var answer struct{ Errcode int }
	if err := json.Unmarshal(rec.Body.Bytes(), &answer); err != nil || rec.Code != http.StatusOK || answer.Errcode != want {
		t.Errorf("%d %s, want %d", rec.Code, rec.Body, want)
	}
}
