package e2e

import (
	"encoding/json"
	"net/http"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// silenceperWork builds the program with that SDK's WeCom package.
var silenceperWork = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(buildDir, "silenceper-work")
	cmd := exec.Command("go", "build", "-o", bin, "./work")
	cmd.Dir = filepath.Join("sdk", "silenceper")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", &installError{string(out), err}
	}
	return bin, nil
})

// SDKs of WeCom see none of their application's tokens die.
func TestWeComSDKs(t *testing.T) {
	t.Parallel()
	for _, sdk := range []string{"wechat-enterprise-api", "node-easywechat-work", "silenceper-work"} {
		for name, c := range map[string]struct{ global, secret string }{
			"one application":            {hrAccount, "no-secret-at-all"},
			"one of two applications":    {hrAccount + salesAccount, "hr"},
			"as a caller":                {hrAccount + "\n caller one {\n key {env.ONE_KEY}\n }", "key-of-the-caller-one"},
			"as a caller of one of two":  {hrAccount + salesAccount + "\n caller one {\n key {env.ONE_KEY}\n }", "hr:key-of-the-caller-one"},
			"beside an official account": {defaultAccount + hrAccount + salesAccount, hrSecret},
		} {
			t.Run(sdk+" "+name, func(t *testing.T) {
				w := startCorp(t, c.global, "weixin")
				var cmd *exec.Cmd
				if sdk == "silenceper-work" {
					bin, err := silenceperWork()
					if err != nil {
						t.Fatal(err)
					}
					cmd = exec.Command(bin)
				} else {
					cmd = sdkCommand(t, sdk)
				}
				cmd.Args = append(cmd.Args, w.url, corpID, c.secret, w.w.URL+"/sandbox/corps/"+corpID+"/agents/1000002/revoke")
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
				var s status
				if a := w.agent(http.MethodGet, "1000002", ""); json.Unmarshal([]byte(a.body), &s) != nil || s.Rejected < 2 || s.Fetches < 3 {
					t.Errorf("the tokens did not die: %s", a)
				}
			})
		}
	}
}
