package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
)

// example calls the paths of the reference as they stand there.
type example struct {
	t      *testing.T
	server *Server
	token  string
}

func newExample(t *testing.T) *example {
	s, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	x := &example{t: t, server: s}
	x.token = x.value("/cgi-bin/stable_token", "access_token")
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
		query += "&access_token=" + x.token
	}
	req := httptest.NewRequest(r.method, r.path+"?"+strings.TrimPrefix(query, "&"), strings.NewReader(body))
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
	value := member(x.call(officialRoutes[path]), name)
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
		if r.takes == componentToken {
			continue
		}
		t.Run(path, func(t *testing.T) {
			x := newExample(t)
			switch {
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
	for path, r := range officialRoutes {
		if r.takes != accountToken {
			continue
		}
		t.Run(path, func(t *testing.T) {
			x := newExample(t)
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
			other := *r
			other.method = map[string]string{http.MethodGet: http.MethodPost, http.MethodPost: http.MethodGet}[r.method]
			wantErrcode(t, x.send(&other, ""), map[string]int{http.MethodGet: requireGET, http.MethodPost: requirePOST}[r.method])
			wantErrcode(t, x.send(r, "access_token=x"), map[bool]int{true: 0, false: invalidAccessToken}[r.reads == jsonBody])
			x.token = "x"
			wantErrcode(t, x.send(&other, ""), invalidAccessToken)
			if r.reads == jsonBody {
				x = newExample(t)
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
