package option

import (
	"errors"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// parsed is what the block of these tests is parsed into.
type parsed struct {
	name, secret string
	list         []string
	flag, once   bool
	at           Positions
}

func (p *parsed) block() Block {
	return Block{Of: "account shop", Positions: &p.at, Options: []Option{
		String("name", &p.name, "x").Checked(func() error {
			if p.name == "bad" {
				return errors.New("name is bad: write another")
			}
			return nil
		}),
		Value(Secret, &p.secret, "{env.SECRET}"),
		List("list", &p.list, "a b"),
		Flag("flag", &p.flag),
		OnceFlag("once", &p.once),
	}, Unknown: func(d *caddyfile.Dispenser) error {
		if d.Val() == "elsewhere" {
			return d.Err("elsewhere has its own answer")
		}
		return nil
	}}
}

func TestBlock(t *testing.T) {
	for _, c := range []struct{ input, mentions string }{
		{"name x\n secret {env.X}\n list a b\n flag\n flag\n once", ""},
		{"", ""},
		{"name bad", "name is bad: write another, at Testfile:2"},
		{"name x\n name y", "name is given twice"},
		{"name", "write name x, for example"},
		{"secret ${X}", "write {env.X}"},
		{"list a,b", "comma"},
		{"flag on", "flag takes no value, but there is on"},
		{"once\n once", "once is given twice: leave one out"},
		{"elsewhere", "elsewhere has its own answer"},
		{"nothing", "unknown option nothing of account shop: write one of name, secret, list, flag, once"},
	} {
		d := caddyfile.NewTestDispenser("account {\n " + c.input + "\n}")
		d.Next()
		err := new(parsed).block().Parse(d)
		switch {
		case err == nil && c.mentions != "":
			t.Errorf("%q is accepted", c.input)
		case err != nil && (c.mentions == "" || !strings.Contains(err.Error(), c.mentions)):
			t.Errorf("%q: %v", c.input, err)
		}
	}
}

func TestBlockRemembersPlaces(t *testing.T) {
	d := caddyfile.NewTestDispenser("account {\n name x\n\n secret {env.X}\n}")
	d.Next()
	var p parsed
	if err := p.block().Parse(d); err != nil {
		t.Fatal(err)
	}
	if p.name != "x" || p.secret != "{env.X}" {
		t.Errorf("parsed %+v", p)
	}
	for name, want := range map[string]string{"name": "Testfile:2", Secret: "Testfile:4", "list": ""} {
		if got := strings.TrimPrefix(p.at.Of("account shop", name), ", at "); got != want {
			t.Errorf("%s stands at %q, not %q", name, got, want)
		}
	}
}
