package mirror

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// The SDK itself reads what is written, and asks WeChat for nothing.
func TestSilenceperReads(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "mirrored")
	build := exec.Command("go", "build", "-o", bin, "./mirrored")
	build.Dir = filepath.Join("..", "..", "e2e", "sdk", "silenceper")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	addr := startRedis(t)
	w := writer(t, Silenceper, "redis://"+addr+"/0")
	for _, written := range []struct {
		account Account
		typ     Type
		text    string
	}{
		{official, AccessToken, "the official account's token"},
		{official, JSAPITicket, "its ticket"},
		{agent, AccessToken, "the agent's token"},
		{agent, JSAPITicket, "the corporation's ticket"},
		{agent, AgentTicket, "the agent's ticket"},
	} {
		v := value(written.typ)
		v.Text = written.text
		if err := w.Write(t.Context(), written.account, v); err != nil {
			t.Fatal(err)
		}
	}
	read := func() (string, error) {
		out, err := exec.Command(bin, addr, testAppID, testCorpID, agent.AgentID).CombinedOutput()
		return string(out), err
	}
	const want = `official account, stable false: the official account's token
mini program, stable false: the official account's token
official account, stable true: the official account's token
mini program, stable true: the official account's token
jsapi ticket: its ticket
WeCom, agent 1000002: the agent's token
WeCom, agent : the agent's token
WeCom ticket: the corporation's ticket
WeCom agent ticket: the agent's ticket
`
	if out, err := read(); err != nil || out != want {
		t.Errorf("%v\n%s\nwant\n%s", err, out, want)
	}
	if err := w.Remove(t.Context(), agent, AgentTicket); err != nil {
		t.Fatal(err)
	}
	if out, err := read(); err == nil {
		t.Errorf("what is removed is still read\n%s", out)
	}
}
