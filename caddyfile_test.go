package weixin

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-weixin/caddy-weixin/sandbox" // the directive weixin_sandbox
)

// Each file of testdata/adapt is a Caddyfile, a line of dashes, and the JSON it
// adapts to.
func TestAdapt(t *testing.T) {
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, ok := strings.Cut(string(data), "----------\n")
			if !ok {
				t.Fatal("there is no line of dashes")
			}
			got, warnings, err := adapt([]byte(input))
			if err != nil {
				t.Fatal(err)
			}
			if len(warnings) > 0 {
				t.Errorf("warnings: %v", warnings)
			}
			var indented strings.Builder
			enc := json.NewEncoder(&indented)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "\t")
			if err := enc.Encode(json.RawMessage(got)); err != nil {
				t.Fatal(err)
			}
			if indented.String() != want {
				t.Errorf("got:\n%s", indented.String())
			}
			// The JSON is a configuration too.
			if err := json.Unmarshal(got, new(caddy.Config)); err != nil {
				t.Error(err)
			}
		})
	}
}

func adapt(input []byte) ([]byte, []caddyconfig.Warning, error) {
	return caddyconfig.GetAdapter("caddyfile").Adapt(input, map[string]any{"filename": "Caddyfile"})
}

// Whatever a Caddyfile says, it is adapted or refused.
func FuzzCaddyfile(f *testing.F) {
	f.Add("weixin {\n upstream https://api.weixin.qq.com\n store storage\n account a {\n appid x\n secret y\n token classic\n }\n}", false)
	f.Add("weixin a {\n allow_ips 10.0.0.0/8 private_ranges\n body_buffer 1KiB\n body_limit 1MiB\n timeout 1s\n}", true)
	f.Add("weixin {\n account {\n }\n}", false)
	f.Add("weixin {\n platform isv {\n appid wx1\n secret x\n push_token t\n push_aes_key {env.K}\n authorizers_in_memory 10\n }\n}", false)
	f.Fuzz(func(t *testing.T, input string, directive bool) {
		tokens, err := caddyfile.Tokenize([]byte(input), "Caddyfile")
		if err != nil || len(tokens) == 0 {
			return
		}
		var u interface {
			caddyfile.Unmarshaler
			json.Marshaler
		}
		app, handler := new(App), new(Handler)
		u = marshaled{app, app}
		if directive {
			u = marshaled{handler, handler}
		}
		if u.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)) != nil {
			return
		}
		first, err := u.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if len(app.Accounts)+len(app.Platforms) == 0 && !directive {
			t.Error("an app without accounts was accepted")
		}
		for name, p := range app.Platforms {
			if p.AppID == "" || p.AppSecret == "" || p.PushToken == "" || p.PushAESKey == "" {
				t.Errorf("platform %q is incomplete: %s", name, first)
			}
		}
		for name, a := range app.Accounts {
			if a.AppID == "" || a.AppSecret == "" {
				t.Errorf("account %q is incomplete: %s", name, first)
			}
		}
	})
}

type marshaled struct {
	caddyfile.Unmarshaler
	value any
}

func (m marshaled) MarshalJSON() ([]byte, error) { return json.Marshal(m.value) }
