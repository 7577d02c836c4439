package sandbox_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile" // the adapter

	"github.com/caddy-weixin/caddy-weixin/sandbox"
)

func TestCaddyfile(t *testing.T) {
	for name, test := range map[string]struct {
		input string
		want  string // JSON
	}{
		"bare":        {`weixin_sandbox`, `{}`},
		"empty block": {"weixin_sandbox {\n}", `{}`},
		"full": {
			"weixin_sandbox {\n account wx1 s1\n account {env.A} {env.S}\n expires_in 1m30s\n lenient\n}",
			`{"accounts":[{"appid":"wx1","secret":"s1"},{"appid":"{env.A}","secret":"{env.S}"}],"expires_in":90000000000,"lenient":true}`,
		},
		"component": {
			"weixin_sandbox {\n component wx1 s {\n push_token t\n push_aes_key k\n callback http://127.0.0.1/c\n authorizer wx2 wx3\n authorizer wx4\n }\n}",
			`{"components":[{"appid":"wx1","secret":"s","push_token":"t","push_aes_key":"k","callback":"http://127.0.0.1/c","authorizers":["wx2","wx3","wx4"]}]}`,
		},
		"api_security": {
			"weixin_sandbox {\n account wx1 s1 {\n api_security {\n key n1 k1\n key n2 k2\n public_key {file./p}\n }\n }\n account wx2 s2\n}",
			`{"accounts":[{"appid":"wx1","secret":"s1","api_security":{"keys":[{"sn":"n1","key":"k1"},{"sn":"n2","key":"k2"}],"public_key":"{file./p}"}},{"appid":"wx2","secret":"s2"}]}`,
		},
		"corp": {
			"weixin_sandbox {\n corp ww1 {\n agent 1000002 s2\n agent 1000003 s3\n }\n account wx1 s1\n}",
			`{"accounts":[{"appid":"wx1","secret":"s1"}],"corps":[{"corpid":"ww1","agents":[{"agentid":"1000002","secret":"s2"},{"agentid":"1000003","secret":"s3"}]}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var h sandbox.Handler
			if err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser(test.input)); err != nil {
				t.Fatal(err)
			}
			if got, err := json.Marshal(&h); err != nil || string(got) != test.want {
				t.Errorf("%s, error %v; want %s", got, err, test.want)
			}
		})
	}
}

func TestCaddyfileErrors(t *testing.T) {
	for name, test := range map[string]struct {
		input string
		want  string
	}{
		"argument":         {"weixin_sandbox shop", "no argument"},
		"unknown option":   {"weixin_sandbox {\n token stable\n}", "no option"},
		"no secret":        {"weixin_sandbox {\n account wx1\n}", "account <appid> <secret>"},
		"third argument":   {"weixin_sandbox {\n account wx1 s1 x\n}", "account <appid> <secret>"},
		"same account":     {"weixin_sandbox {\n account wx1 s1\n account wx1 s2\n}", "twice"},
		"corp, alone":      {"weixin_sandbox {\n corp ww1\n}", "has no agent"},
		"corp, what":       {"weixin_sandbox {\n corp {\n agent 1 s\n }\n}", "corp <corpid>"},
		"corp, twice":      {"weixin_sandbox {\n corp ww1 {\n agent 1 s\n }\n corp ww1 {\n agent 2 s\n }\n}", "twice"},
		"corp's option":    {"weixin_sandbox {\n corp ww1 {\n secret s\n }\n}", "agent <agentid> <secret>"},
		"agent, alone":     {"weixin_sandbox {\n corp ww1 {\n agent 1\n }\n}", "agent <agentid> <secret>"},
		"component, alone": {"weixin_sandbox {\n component wx1\n}", "its appid and its secret"},
		"component's keys": {"weixin_sandbox {\n component wx1 s\n}", "needs push_token <token> and push_aes_key <key>"},
		"component, twice": {"weixin_sandbox {\n component wx1 s {\n push_token t\n push_aes_key k\n }\n component wx1 s\n}", "twice"},
		"component's what": {"weixin_sandbox {\n component wx1 s {\n token t\n }\n}", "no option"},
		"two callbacks":    {"weixin_sandbox {\n component wx1 s {\n callback a\n callback b\n }\n}", "twice"},
		"a lone callback":  {"weixin_sandbox {\n component wx1 s {\n callback\n }\n}", "one value"},
		"no authorizer":    {"weixin_sandbox {\n component wx1 s {\n authorizer\n }\n}", "authorizer wx"},
		"security's what":  {"weixin_sandbox {\n account wx1 s1 {\n api_security {\n sign x\n }\n }\n}", "no such option"},
		"no keys at all":   {"weixin_sandbox {\n account wx1 s1 {\n api_security {\n }\n }\n}", "public_key <file or PEM>"},
		"two securities":   {"weixin_sandbox {\n account wx1 s1 {\n api_security {\n key n k\n public_key p\n }\n api_security {\n key n k\n public_key p\n }\n }\n}", "twice"},
		"account's option": {"weixin_sandbox {\n account wx1 s1 {\n token stable\n }\n}", "no option"},
		"no duration":      {"weixin_sandbox {\n expires_in\n}", "expires_in 30s"},
		"two durations":    {"weixin_sandbox {\n expires_in 1h 2h\n}", "expires_in 30s"},
		"wrong duration":   {"weixin_sandbox {\n expires_in soon\n}", "expires_in 30s"},
		"short duration":   {"weixin_sandbox {\n expires_in 1s\n}", "at least 2s"},
		"duration, twice":  {"weixin_sandbox {\n expires_in 1h\n expires_in 1h\n}", "twice"},
		"lenient, how":     {"weixin_sandbox {\n lenient yes\n}", "no argument"},
		"what is too much": {"weixin_sandbox {\n account wx1 secretsecret x\n}", "account <appid> <secret>"},
	} {
		t.Run(name, func(t *testing.T) {
			err := new(sandbox.Handler).UnmarshalCaddyfile(caddyfile.NewTestDispenser(test.input))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v, want one with %q", err, test.want)
			}
			if strings.Contains(err.Error(), "secretsecret") {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}

func TestDirectiveNeedsNoOrder(t *testing.T) {
	input := ":8080 {\n respond 404\n weixin_sandbox /cgi-bin/*\n}"
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(input), nil)
	if err != nil {
		t.Fatal(err)
	}
	sandboxed := strings.Index(string(adapted), `"handler":"weixin_sandbox"`)
	responded := strings.Index(string(adapted), `"handler":"static_response"`)
	if sandboxed < 0 || responded < sandboxed {
		t.Errorf("%s", adapted)
	}
}

func provision(t *testing.T, h *sandbox.Handler) {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	if err := h.Provision(ctx); err != nil {
		t.Fatal(err)
	}
}

func serve(t *testing.T, h *sandbox.Handler, target string) answer {
	t.Helper()
	recorder := httptest.NewRecorder()
	if err := h.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, target, nil), nil); err != nil {
		t.Error(err)
	}
	return answer{recorder, t}
}

const fetch = "/cgi-bin/token?grant_type=client_credential&appid=wx1&secret="

func TestReloadKeepsTokens(t *testing.T) {
	t.Setenv("SANDBOX_SECRET", "s1")
	config := func() *sandbox.Handler {
		return &sandbox.Handler{Accounts: []sandbox.Account{{AppID: "wx1", AppSecret: "{env.SANDBOX_SECRET}"}}}
	}
	before := config()
	provision(t, before)
	token := serve(t, before, fetch+"s1").text("access_token")
	use := "/cgi-bin/menu/delete?access_token=" + token

	after := config()
	provision(t, after)
	for range 2 {
		if err := before.Cleanup(); err != nil {
			t.Error(err)
		}
	}
	serve(t, before, use).want(0) // a request that is still under way
	serve(t, after, use).want(0)

	// A second Cleanup would have taken the reference of the new handler.
	third := config()
	provision(t, third)
	serve(t, third, use).want(0)

	other := &sandbox.Handler{Accounts: []sandbox.Account{{AppID: "wx1", AppSecret: "s2"}}}
	provision(t, other)
	serve(t, other, use).want(40001)
	for _, h := range []*sandbox.Handler{after, third, other} {
		if err := h.Cleanup(); err != nil {
			t.Error(err)
		}
	}

	last := config()
	provision(t, last)
	serve(t, last, use).want(40001) // nobody had kept it
	if err := last.Cleanup(); err != nil {
		t.Error(err)
	}
}

func TestProvisionErrors(t *testing.T) {
	t.Setenv("SANDBOX_EMPTY", "")
	accounts := func(list ...sandbox.Account) *sandbox.Handler { return &sandbox.Handler{Accounts: list} }
	for name, test := range map[string]struct {
		handler *sandbox.Handler
		want    string
	}{
		"empty secret":   {accounts(sandbox.Account{AppID: "a", AppSecret: "{env.SANDBOX_EMPTY}"}), "account 1: secret: "},
		"unknown secret": {accounts(sandbox.Account{AppID: "a", AppSecret: "{no.such}"}), "account 1: secret: "},
		"empty appid":    {accounts(sandbox.Account{AppID: "{env.SANDBOX_EMPTY}", AppSecret: "s"}), "account 1: appid: "},
		"no secret":      {accounts(sandbox.Account{AppID: "a"}), "no secret"},
		"no appid":       {accounts(sandbox.Account{AppSecret: "s"}), "no AppID"},
		"account, twice": {accounts(sandbox.Account{AppID: "a", AppSecret: "s"}, sandbox.Account{AppID: "a", AppSecret: "s"}), "twice"},
		"short lifetime": {&sandbox.Handler{ExpiresIn: 1}, "2s at least"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
			defer cancel()
			if err := test.handler.Provision(ctx); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			if err := test.handler.Cleanup(); err != nil {
				t.Error(err)
			}
		})
	}
	if err := new(sandbox.Handler).Cleanup(); err != nil {
		t.Error(err)
	}
}

func TestExportedFieldsKeepPlaceholders(t *testing.T) {
	t.Setenv("SANDBOX_SECRET", "resolved-secret")
	h := &sandbox.Handler{Accounts: []sandbox.Account{{AppID: "wx1", AppSecret: "{env.SANDBOX_SECRET}"}}}
	provision(t, h)
	defer func() { _ = h.Cleanup() }()
	if dump, err := json.Marshal(h); err != nil || strings.Contains(string(dump), "resolved") {
		t.Errorf("%s, error %v", dump, err)
	}
	serve(t, h, fetch+"resolved-secret").want(0)
}

// Placeholders are resolved wherever a secret may stand.
func TestPlaceholders(t *testing.T) {
	for name, value := range map[string]string{
		"SB_AGENT": "agent-secret", "SB_ISV": "isv-secret", "SB_PUSH": "push-token", "SB_AES": aesKey, "SB_KEY": securityKey, "SB_PEM": publicPEM(),
	} {
		t.Setenv(name, value)
	}
	h := &sandbox.Handler{
		Accounts: []sandbox.Account{{AppID: "wx1", AppSecret: "s1", APISecurity: &sandbox.APISecurity{
			Keys: []sandbox.SecurityKey{{SN: "n", Key: "{env.SB_KEY}"}}, PublicKey: "{env.SB_PEM}",
		}}},
		Corps: []sandbox.Corp{{CorpID: "ww1", Agents: []sandbox.Agent{{AgentID: "1", Secret: "{env.SB_AGENT}"}}}},
		Components: []sandbox.Component{{
			AppID: "wxisv", Secret: "{env.SB_ISV}", PushToken: "{env.SB_PUSH}", PushAESKey: "{env.SB_AES}", Authorizers: []string{"wx2"},
		}},
	}
	provision(t, h)
	defer func() { _ = h.Cleanup() }()
	serve(t, h, "/cgi-bin/gettoken?corpid=ww1&corpsecret=agent-secret").want(0)
	if a := serve(t, h, "/sandbox/certificate"); a.Code != http.StatusOK {
		t.Errorf("%d %s", a.Code, a.Body)
	}
	if a := serve(t, h, "/sandbox/platforms/wxisv"); a.number("authorizers") != 1 {
		t.Errorf("%s", a.Body)
	}
	dump, err := json.Marshal(h)
	if err != nil || strings.Contains(string(dump), "agent-secret") || strings.Contains(string(dump), aesKey) || strings.Contains(string(dump), securityKey) {
		t.Errorf("%s, error %v", dump, err)
	}

	for want, broken := range map[string]*sandbox.Handler{
		"corp 1, agent 1: secret: ": {Corps: []sandbox.Corp{{CorpID: "ww1", Agents: []sandbox.Agent{{AgentID: "1", Secret: "{no.such}"}}}}},
		"component 1: push_token: ": {Components: []sandbox.Component{{AppID: "wxisv", Secret: "s", PushToken: "{no.such}", PushAESKey: aesKey}}},
		"account 1: key: ": {Accounts: []sandbox.Account{{AppID: "wx1", AppSecret: "s", APISecurity: &sandbox.APISecurity{
			Keys: []sandbox.SecurityKey{{SN: "n", Key: "{no.such}"}}, PublicKey: "x",
		}}}},
	} {
		ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
		if err := broken.Provision(ctx); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
		cancel()
	}
}
