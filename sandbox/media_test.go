package sandbox_test

import (
	"bytes"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-weixin/caddy-weixin/sandbox"
)

// upload sends a file as the form field media, behind another field.
func (ts tester) upload(kind, field, contentType string, data []byte) answer {
	ts.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	if err := form.WriteField("description", "x"); err != nil {
		ts.t.Fatal(err)
	}
	part, err := form.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {fmt.Sprintf(`form-data; name=%q; filename="a.PNG"`, field)},
		"Content-Type":        {contentType},
	})
	if err != nil {
		ts.t.Fatal(err)
	}
	if _, err := part.Write(data); err != nil {
		ts.t.Fatal(err)
	}
	if err := form.Close(); err != nil {
		ts.t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/cgi-bin/media/upload?type="+kind+"&access_token="+ts.token(), &body)
	r.Header.Set("Content-Type", form.FormDataContentType())
	return ts.do(r)
}

func (ts tester) media(id string) answer {
	return ts.get("/cgi-bin/media/get?access_token=" + ts.token() + "&media_id=" + id)
}

func TestMediaRoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTester(t, sandbox.Config{})
		data := bytes.Repeat([]byte("picture"), 100_000)
		up := ts.upload("image", "media", "image/png", data)
		if up.text("type") != "image" || up.number("created_at") != int(time.Now().Unix()) {
			t.Errorf("%s", up.Body)
		}
		id := up.text("media_id")

		down := ts.media(id)
		if !bytes.Equal(down.Body.Bytes(), data) {
			t.Errorf("%d bytes came back, want %d", down.Body.Len(), len(data))
		}
		if got := down.Header().Get("Content-Type"); got != "image/png" {
			t.Errorf("content type %q", got)
		}
		if got, want := down.Header().Get("Content-Disposition"), `attachment; filename="`+id+`.PNG"`; got != want {
			t.Errorf("content disposition %q, want %q", got, want)
		}
		message := `{"touser":"` + openID + `","msgtype":"image","image":{"media_id":"` + id + `"}}`
		ts.post("/cgi-bin/message/custom/send?access_token="+ts.token(), message).want(0)

		ts.media("x").want(40007)
		time.Sleep(3 * 24 * time.Hour)
		ts.media(id).want(40007)
	})
}

func TestMediaErrors(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	for name, test := range map[string]struct {
		kind, field string
		size        int
		want        int
	}{
		"no type":      {"", "media", 1, 40004},
		"unknown type": {"text", "media", 1, 40004},
		"wrong field":  {"image", "file", 1, 41005},
		"empty":        {"image", "media", 0, 41005},
		"large thumb":  {"thumb", "media", 64<<10 + 1, 45001},
		"largest one":  {"image", "media", 10 << 20, 0},
		"large image":  {"image", "media", 10<<20 + 1, 45001},
	} {
		t.Run(name, func(t *testing.T) {
			tester{t, ts.server}.upload(test.kind, test.field, "image/png", make([]byte, test.size)).want(test.want)
		})
	}
	ts.post("/cgi-bin/media/upload?type=image&access_token="+ts.token(), "no form").want(41005)
	ts.get("/cgi-bin/media/upload?type=image&access_token=" + ts.token()).want(43002)
}

func TestThumbsHaveAnIDOfTheirOwn(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	a := ts.upload("thumb", "media", "image/jpeg", []byte("x"))
	if id := a.text("thumb_media_id"); ts.media(id).Body.String() != "x" {
		t.Errorf("%s", a.Body)
	}
}

func TestMediaContentTypes(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	for declared, want := range map[string]string{
		"audio/amr":                "audio/amr",
		"image/png; x=y":           "image/png",
		"text/html":                "image/gif", // by its first bytes
		"application/octet-stream": "image/gif",
	} {
		id := ts.upload("image", "media", declared, []byte("GIF89a")).text("media_id")
		if got := ts.media(id).Header().Get("Content-Type"); got != want {
			t.Errorf("%s came back as %s, want %s", declared, got, want)
		}
	}
	id := ts.upload("image", "media", "text/html", []byte("<script>")).text("media_id")
	if got := ts.media(id).Header().Get("Content-Type"); got != "application/octet-stream" {
		t.Errorf("HTML came back as %s", got)
	}
}

func TestMediaIsBounded(t *testing.T) {
	for name, test := range map[string]struct {
		size, kept int
	}{
		"count": {1, 100},
		"size":  {8 << 20, 4},
	} {
		t.Run(name, func(t *testing.T) {
			ts := newTester(t, sandbox.Config{})
			data := []byte(strings.Repeat("x", test.size))
			ids := make([]string, test.kept+1)
			for i := range ids {
				ids[i] = ts.upload("image", "media", "image/png", data).text("media_id")
			}
			ts.media(ids[0]).want(40007)
			if got := ts.media(ids[1]).Body.Len(); got != test.size {
				t.Errorf("the second has %d bytes, want %d", got, test.size)
			}
		})
	}
}
