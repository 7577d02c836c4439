package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/caddy-weixin/caddy-weixin/internal/programtest"
)

// sdks installs what e2e/sdk/package.json pins.
var sdks = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(buildDir, "sdk")
	if err := os.CopyFS(dir, os.DirFS("sdk")); err != nil {
		return "", err
	}
	cmd := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", &installError{string(out), err}
	}
	return dir, nil
})

type installError struct {
	output string
	err    error
}

func (e *installError) Error() string { return "npm ci: " + e.err.Error() + "\n" + e.output }

// silenceper builds the program with that SDK, which is a module of its own so
// that nobody else gets its dependencies.
var silenceper = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(buildDir, "silenceper")
	cmd := exec.Command("go", "build", "-o", bin, ".")
	cmd.Dir = filepath.Join("sdk", "silenceper")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", &installError{string(out), err}
	}
	return bin, nil
})

// sdkCommand returns how to run a program with an SDK.
func sdkCommand(t *testing.T, sdk string) *exec.Cmd {
	t.Helper()
	if sdk == "silenceper" {
		bin, err := silenceper()
		if err != nil {
			t.Fatal(err)
		}
		return exec.Command(bin)
	}
	programtest.Require(t, "node")
	programtest.Require(t, "npm")
	dir, err := sdks()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", sdk+".js")
	cmd.Dir = dir
	return cmd
}

// An SDK that fetches its own tokens sees none of them die. The number is of the
// proxy's fetches: one to begin with, and one for each death that is noticed. A
// ticket is fetched once, whoever asks for it again: it is the proxy's.
func TestSDKs(t *testing.T) {
	t.Parallel()
	for sdk, fetches := range map[string]int{"co-wechat-api": 7, "wechat-api": 3, "node-easywechat": 5, "silenceper": 13} {
		for name, c := range map[string]struct{ global, secret string }{
			"without callers": {defaultAccount, "no-secret-at-all"},
			"as a caller":     {defaultAccount + "\n caller app {\n key {env.APP_KEY}\n }", "the-key-of-the-app"},
		} {
			t.Run(sdk+" "+name, func(t *testing.T) {
				w := startWeChat(t)
				p := startCaddy(t, w, config{global: c.global, env: []string{"APP_KEY=the-key-of-the-app"}})
				cmd := sdkCommand(t, sdk)
				cmd.Args = append(cmd.Args, p.url, appID, c.secret, w.URL+"/sandbox/accounts/"+appID+"/revoke")
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
				if n := w.status().Fetches; n != fetches {
					t.Errorf("%d fetches, want %d", n, fetches)
				}
				if n := w.count(getTicketPath); n > 2 || n == 0 && sdk != "node-easywechat" { // with the token that was dead, and again
					t.Errorf("%d fetches of a ticket", n)
				}
			})
		}
	}
}
