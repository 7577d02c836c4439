package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-weixin/caddy-weixin/internal/programtest"
)

// Node's client sends on while an answer comes.
func TestNodeKeepsItsConnections(t *testing.T) {
	t.Parallel()
	programtest.Require(t, "node")
	w, hasty := startWeChat(t), startHastyWeChat(t)
	_, sites := startSites(t, w, hasty)
	script := filepath.Join(t.TempDir(), "client.js")
	if err := os.WriteFile(script, []byte(nodeClient), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, s := range sites {
		if s.name != "handler" && s.name != "transport" && !s.fronted {
			continue
		}
		out, err := exec.Command("node", script, s.url, appID, "1000").CombinedOutput()
		if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "no stray answer") {
			t.Errorf("%s: %v\n%s", s.name, err, out)
		}
	}
}

// nodeClient sends uploads that are refused, and requests that are not, over
// connections that are kept.
const nodeClient = `
const http = require('http');
const [base, appid, tries] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
function send(method, path, body) {
	return new Promise((resolve) => {
		const req = http.request(base + path, { method, agent, headers: body ? { 'Content-Length': body.length } : {} }, (res) => {
			let text = '';
			res.on('data', (d) => { text += d; });
			res.on('end', () => resolve({ status: res.statusCode, text }));
			res.on('error', (e) => resolve({ error: e.code }));
		});
		req.on('error', (e) => resolve({ error: e.code }));
		req.end(body);
	});
}
async function run() {
	const sizes = [100, 100000, 1000000, 9000000];
	const strays = [];
	for (let i = 0; i < Number(tries); i++) {
		const size = sizes[i % 7 % 4];
		const refused = await send('POST', '/cgi-bin//a?appid=' + appid, Buffer.alloc(size, 'x'));
		if (![400, 413].includes(refused.status)) strays.push(['POST', size, refused]);
		const got = await send('GET', '/cgi-bin/user/get?appid=' + appid);
		if (got.status !== 200 || !got.text.includes('openid')) strays.push(['GET', size, got]);
	}
	console.log(strays.length ? strays.length + ' ' + JSON.stringify(strays.slice(0, 3)) : 'no stray answer');
	process.exit(0);
}
run();
`
