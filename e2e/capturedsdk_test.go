package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-weixin/caddy-weixin/internal/programtest"
)

// applicationEnv is what an application gets beside its own environment: the
// proxy, and a certificate to trust. NO_PROXY keeps away what the tests
// themselves ask of the sandbox.
func (p *captured) applicationEnv() []string {
	env := os.Environ()
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"} {
		env = append(env, name+"="+p.url)
	}
	return append(env, "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1",
		"SSL_CERT_FILE="+p.rootFile(),       // Go, Python, Ruby
		"NODE_EXTRA_CA_CERTS="+p.rootFile(), // Node
		"CURL_CA_BUNDLE="+p.rootFile(),      // curl
	)
}

// runApplication runs an application to its end.
func (p *captured) runApplication(dir, name string, args ...string) {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, p.applicationEnv()
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Errorf("%v\n%s", err, out)
	}
}

// Applications in several languages, as they are, trust Caddy's root in the way
// that the documentation names, and need nothing else.
func TestCapturedLanguages(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		program string
		args    func(p *captured) []string
	}{
		"curl": {"curl", func(*captured) []string {
			return []string{"--fail-with-body", "--silent", "--show-error", "https://api.weixin.qq.com/cgi-bin/user/get", "http://file.api.weixin.qq.com/cgi-bin/user/get"}
		}},
		"Python": {"python3", func(*captured) []string { return []string{"urlopen.py", appID, "any"} }},
		"PHP": {"php", func(p *captured) []string {
			return []string{"-d", "curl.cainfo=" + p.rootFile(), "curl.php", appID, "any"}
		}},
		"Ruby": {"ruby", func(*captured) []string { return []string{"nethttp.rb", appID, "any"} }},
	} {
		t.Run(name, func(t *testing.T) {
			programtest.Require(t, c.program)
			w := startWeChat(t)
			p := startCapture(t, w, capturing{})
			p.runApplication(filepath.Join("sdk", "captured"), c.program, c.args(p)...)
			if w.count("/cgi-bin/user/get") < 2 {
				t.Error("WeChat was not called through https and http")
			}
			calls := w.count("/cgi-bin/user/get")
			w.revoke()
			p.runApplication(filepath.Join("sdk", "captured"), c.program, c.args(p)...)
			if w.count("/cgi-bin/user/get") < calls+3 {
				t.Error("no call was replayed")
			}
		})
	}
}

func TestCapturedJava(t *testing.T) {
	t.Parallel()
	programtest.Require(t, "javac") // with which java runs a source file
	programtest.Require(t, "keytool")
	w := startWeChat(t)
	p := startCapture(t, w, capturing{})
	store := filepath.Join(t.TempDir(), "roots.p12")
	out, err := exec.Command("keytool", "-importcert", "-noprompt", "-alias", "caddy", "-file", p.rootFile(),
		"-keystore", store, "-storetype", "PKCS12", "-storepass", "changeit").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	port := portOf(p.url)
	p.runApplication(filepath.Join("sdk", "captured"), "java", "-Djavax.net.ssl.trustStore="+store, "-Djavax.net.ssl.trustStorePassword=changeit",
		"-Dhttps.proxyHost=127.0.0.1", "-Dhttps.proxyPort="+port, "-Dhttp.proxyHost=127.0.0.1", "-Dhttp.proxyPort="+port,
		"Captured.java", appID, "any")
	if w.count("/cgi-bin/user/get") != 2 {
		t.Error("WeChat was not called through https and http")
	}
}

// SDKs whose hosts cannot be set see none of their tokens' deaths.
func TestCapturedSDKs(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]func(t *testing.T, p *captured, args ...string){
		"nest-wechat": func(t *testing.T, p *captured, args ...string) {
			programtest.Require(t, "node")
			programtest.Require(t, "npm")
			dir, err := sdks()
			if err != nil {
				t.Fatal(err)
			}
			p.runApplication(dir, "node", append([]string{"nest-wechat.js"}, args...)...)
		},
		"silenceper": func(t *testing.T, p *captured, args ...string) {
			program := filepath.Join(t.TempDir(), "silenceper")
			cmd := exec.Command("go", "build", "-o", program, "./hardwired")
			cmd.Dir = filepath.Join("sdk", "silenceper")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			p.runApplication(".", program, args...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := startWeChat(t)
			p := startCapture(t, w, capturing{})
			run(t, p, appID, "any", w.URL+"/sandbox/accounts/"+appID+"/revoke")
			want := 2
			if name == "nest-wechat" {
				want = 1 // it asks for tickets alone, which the proxy keeps
			}
			if n := w.status().Fetches; n != want {
				t.Errorf("%d fetches, want %d: one to begin with, and one for the death in between that a request notices", n, want)
			}
			if strings.Contains(p.logs.String(), "request refused") {
				t.Error("a request was refused")
			}
			if w.count("/cgi-bin/token") > 0 {
				t.Error("the SDK fetched a token of WeChat's")
			}
		})
	}
}
