package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
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

// requireProgram skips where a developer has not installed a program. CI has.
func requireProgram(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is missing", name)
		}
		t.Skipf("NOT TESTED: %s is missing", name)
	}
}

// An SDK that fetches its own tokens sees none of them die.
func TestCoWechatAPI(t *testing.T) {
	requireProgram(t, "node")
	requireProgram(t, "npm")
	dir, err := sdks()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ global, secret string }{
		"without callers": {defaultAccount, "no-secret-at-all"},
		"as a caller":     {defaultAccount + "\n caller app {\n key {env.APP_KEY}\n }", "the-key-of-the-app"},
	} {
		t.Run(name, func(t *testing.T) {
			w := startWeChat(t)
			p := startCaddy(t, w, config{global: c.global, env: []string{"APP_KEY=the-key-of-the-app"}})
			cmd := exec.Command("node", "co-wechat-api.js", p.url, appID, c.secret, w.URL+"/sandbox/accounts/"+appID+"/revoke")
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			if n := w.status().Fetches; n != 7 {
				t.Errorf("%d fetches, want 7: one to begin with, and one for each of six deaths", n)
			}
		})
	}
}
