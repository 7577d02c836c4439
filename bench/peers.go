package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"text/template"
)

// kind is what can be measured.
type kind struct {
	name, title string
	engine      engine
	lua         bool     // needs nginx's module for Lua
	fetches     bool     // fetches tokens itself, and replaces one that is rejected
	answers     []byte   // answers everything with this, and asks no upstream
	scenarios   []string // what it can be measured with; nil is everything
	scraped     bool     // has an endpoint with metrics, which is read all the time
	extra       bool     // only if asked for
}

type engine uint8

const (
	noProxy engine = iota
	caddy
	nginx
)

// Names that others are compared with.
const (
	tuned = "caddy-tuned"
	floor = "respond"
	us    = "us"
)

var kinds = []kind{
	{name: "direct", title: "no proxy: TLS by the client", engine: noProxy},
	{name: "caddy", title: "Caddy, `reverse_proxy` as it is", engine: caddy},
	{name: tuned, title: "Caddy, `reverse_proxy` tuned", engine: caddy},
	{name: "nginx", title: "nginx, a fixed token", engine: nginx},
	{name: "nginx-lua", title: "nginx with Lua, our whole job", engine: nginx, lua: true, fetches: true},
	{name: floor, title: "Caddy, `respond`: no upstream", engine: caddy, answers: userList, scenarios: []string{"get", "post"}},
	{name: us, title: "us", engine: caddy, fetches: true},
	{name: "us-metrics", title: "us, with Caddy's metrics per request, scraped", engine: caddy, fetches: true, scraped: true, extra: true},
}

// measurable says whether the kind can do a scenario.
func (k *kind) measurable(s *scenario) bool {
	return k.scenarios == nil || slices.Contains(k.scenarios, s.name)
}

// peer is a kind that runs.
type peer struct {
	*kind
	process *process // nil without a proxy
	address string
	dial    dialer
	token   string // what clients have to send
	metrics string // address of the endpoint
}

// call returns the request of a scenario to this peer.
func (p *peer) call(newCall func(token string) call) *call {
	c := newCall(p.token)
	if p.answers != nil {
		c = c.answering(p.answers)
	}
	return &c
}

// pid returns the process to account for, or 0.
func (p *peer) pid() int {
	if p.process == nil {
		return 0
	}
	return p.process.cmd.Process.Pid
}

// stage is where peers run.
type stage struct {
	dir          string
	certificates *certificates
	upstream     string // address
	caddy        string // binary
	nginx        nginxInfo
	processes    []*process
}

// close ends what was started, the last one first.
func (s *stage) close() {
	for _, p := range slices.Backward(s.processes) {
		p.stop()
	}
	s.processes = nil
}

// start starts a peer, which may not serve yet.
func (s *stage) start(ctx context.Context, k *kind) (*peer, error) {
	p := &peer{kind: k}
	if k.engine == noProxy {
		p.address, p.token = s.upstream, staticToken
		p.dial = s.dialTLS
		return p, nil
	}
	dir := filepath.Join(s.dir, k.name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	if p.metrics, err = freeAddress(ctx); err != nil {
		return nil, err
	}
	p.address, p.dial = address, dialTCP(address)
	c := s.configuration(k, dir, address, p.metrics)
	if k.engine == nginx {
		p.process, err = s.startNginx(c)
	} else {
		p.process, err = s.startCaddy(c)
	}
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", k.name, err)
	}
	s.processes = append(s.processes, p.process)
	return p, nil
}

// dialTLS opens a connection to the upstream as a client without a proxy does.
func (s *stage) dialTLS(ctx context.Context) (net.Conn, error) {
	return s.dialTLSVersion(ctx, tls.VersionTLS13)
}

func (s *stage) dialTLSVersion(ctx context.Context, version uint16) (net.Conn, error) {
	d := tls.Dialer{Config: &tls.Config{RootCAs: s.certificates.pool, MinVersion: tls.VersionTLS12, MaxVersion: version}}
	return d.DialContext(ctx, "tcp", s.upstream)
}

func dialTCP(address string) dialer {
	return func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}
}

//go:embed conf
var confFiles embed.FS

var confTemplates = template.Must(template.ParseFS(confFiles, "conf/*"))

// configuration is what templates are filled with.
type configuration struct {
	Name, Dir, Port, Admin string
	Upstream, UpstreamName string
	Authority              string
	Token                  string
	AppID, AppSecret       string
	Answer                 string
	User                   string
	Workers                int
	Modules                []string
}

func (s *stage) configuration(k *kind, dir, address, admin string) *configuration {
	c := &configuration{
		Name:     k.name,
		Dir:      dir,
		Admin:    admin,
		Upstream: s.upstream, UpstreamName: upstreamName,
		Authority: s.certificates.authority,
		Token:     staticToken,
		AppID:     appID,
		AppSecret: appSecret,
		Answer:    string(k.answers),
		Workers:   runtime.NumCPU(),
	}
	_, c.Port, _ = net.SplitHostPort(address)
	if k.lua {
		c.Modules = s.nginx.luaModules
	}
	if os.Geteuid() == 0 {
		c.User = "root" // the files are root's, too
	}
	return c
}

// write writes a file of the peer's.
func (c *configuration) write(file, templateName string) (string, error) {
	var b strings.Builder
	if err := confTemplates.ExecuteTemplate(&b, templateName, c); err != nil {
		return "", err
	}
	path := filepath.Join(c.Dir, file)
	return path, os.WriteFile(path, []byte(b.String()), 0o600)
}

func (s *stage) startCaddy(c *configuration) (*process, error) {
	file, err := c.write("Caddyfile", c.Name)
	if err != nil {
		return nil, err
	}
	env := []string{
		"SSL_CERT_FILE=" + s.certificates.authority, "SSL_CERT_DIR=" + c.Dir, // what the process trusts
		"HOME=" + c.Dir, "XDG_DATA_HOME=" + c.Dir, "XDG_CONFIG_HOME=" + c.Dir,
		"TMPDIR=" + c.Dir,
	}
	return startProcess(c.Dir, c.Name, env, nil, s.caddy, "run", "--config", file, "--adapter", "caddyfile")
}

func (s *stage) startNginx(c *configuration) (*process, error) {
	file, err := c.write("nginx.conf", c.Name)
	if err != nil {
		return nil, err
	}
	if _, err := c.write("weixin.lua", "weixin.lua"); err != nil {
		return nil, err
	}
	return startProcess(c.Dir, c.Name, nil, nil, s.nginx.binary, "-p", c.Dir, "-e", "stderr", "-c", file)
}

// nginxInfo is what is installed of nginx.
type nginxInfo struct {
	binary, version string
	missing         string // why it cannot be measured
	luaModules      []string
	luaMissing      string // why it cannot be measured with Lua
}

var (
	nginxVersion     = regexp.MustCompile(`nginx version: (\S+)`)
	nginxModulesPath = regexp.MustCompile(`--modules-path=(\S+)`)
	nginxStaticLua   = regexp.MustCompile(`--add-module=\S*(ngx_lua|lua-nginx-module)`)
)

// findNginx looks for nginx and its module for Lua, which may be part of it.
func findNginx(ctx context.Context) nginxInfo {
	var info nginxInfo
	for _, name := range []string{"nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx", "openresty"} {
		if path, err := exec.LookPath(name); err == nil {
			info.binary = path
			break
		}
	}
	if info.binary == "" {
		info.missing = "nginx is not installed"
		info.luaMissing = info.missing
		return info
	}
	out, err := exec.CommandContext(ctx, info.binary, "-V").CombinedOutput()
	if err != nil {
		info.missing = fmt.Sprintf("%s -V: %v", info.binary, err)
		info.luaMissing = info.missing
		return info
	}
	if m := nginxVersion.FindSubmatch(out); m != nil {
		info.version = string(m[1])
	}
	if nginxStaticLua.Match(out) {
		return info
	}
	m := nginxModulesPath.FindSubmatch(out)
	if m == nil {
		info.luaMissing = "nginx has no modules"
		return info
	}
	for _, module := range []string{"ndk_http_module.so", "ngx_http_lua_module.so"} {
		path := filepath.Join(string(m[1]), module)
		if _, err := os.Stat(path); err != nil {
			info.luaMissing = "nginx's module for Lua is not installed (Debian: libnginx-mod-http-lua)"
			return info
		}
		info.luaModules = append(info.luaModules, path)
	}
	return info
}

// leftOut says why a kind cannot be measured here, or "".
func (n *nginxInfo) leftOut(k *kind) string {
	switch {
	case k.engine != nginx:
		return ""
	case k.lua:
		return n.luaMissing
	default:
		return n.missing
	}
}

// chooseKinds returns the kinds with the names, in their usual order.
func chooseKinds(names string, extra bool) ([]*kind, error) {
	var chosen []*kind
	wanted := strings.Split(names, ",")
	for i := range kinds {
		k := &kinds[i]
		if slices.Contains(wanted, k.name) || names == "" && (!k.extra || extra) {
			chosen = append(chosen, k)
		}
	}
	for _, name := range wanted {
		if names != "" && !slices.ContainsFunc(kinds, func(k kind) bool { return k.name == name }) {
			return nil, fmt.Errorf("there is no peer %q", name)
		}
	}
	if len(chosen) == 0 {
		return nil, errors.New("no peers")
	}
	return chosen, nil
}

// startUpstream starts the upstream at an address, with a command before its
// own if need be.
func (s *stage) startUpstream(ctx context.Context, listen string, prefix []string) error {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return err
	}
	if s.certificates, err = newCertificates(s.dir, net.ParseIP(host)); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	argv := append(slices.Clone(prefix), self, upstreamCommand,
		"-listen", listen, "-certificate", s.certificates.certificate, "-key", s.certificates.key)
	p, err := startProcess(s.dir, upstreamCommand, nil, in, argv...)
	_ = in.Close()
	if err != nil {
		return err
	}
	s.processes = append(s.processes, p)
	defer context.AfterFunc(ctx, p.stop)()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		<-p.exited
		return p.failure(errors.New("it did not start"))
	}
	s.upstream = strings.TrimSpace(line)
	return nil
}
