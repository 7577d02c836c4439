package weixin

import (
	"encoding/json"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-weixin/caddy-weixin/internal/option"
	"github.com/caddy-weixin/caddy-weixin/store"
)

// storeOptions are the options of the stores that there are here.
type storeOptions struct {
	Module  string         `json:"module"`
	URL     string         `json:"url"`
	Prefix  string         `json:"prefix"`
	Timeout caddy.Duration `json:"timeout"`
	Storage map[string]any `json:"storage"`
}

// storeForms are the forms of their options, by the module's name.
var storeForms = map[string]option.Forms{
	"redis":   {"module": `"redis"`, "url": `"{env.REDIS_URL}"`, "prefix": `"weixin:"`, "timeout": `"1s"`},
	"storage": {"module": `"storage"`, "storage": `{"module": "file_system", "root": "/var/lib/caddy"}`},
}

// checkStore refuses stores that there are not, and a URL of Redis that is not
// there or is none for what is around it.
func checkStore(values option.Values, raw json.RawMessage) error {
	var options storeOptions
	_ = json.Unmarshal(raw, &options) // the module's name comes first
	if err := checkStoreName(options.Module); err != nil {
		return err
	}
	if forms, ok := storeForms[options.Module]; ok {
		if err := option.Decode(raw, new(storeOptions), forms); err != nil {
			return fmt.Errorf("store %s: %w", options.Module, err)
		}
	}
	if options.Module == "redis" && options.URL != "" {
		if _, err := values.Resolve("store redis", "url", options.URL); err != nil {
			return fmt.Errorf("store redis: %w", err)
		}
	}
	return nil
}

// checkStoreName refuses names that are none of a store.
func checkStoreName(name string) error {
	if _, err := caddy.GetModule("weixin.stores." + name); err != nil {
		return fmt.Errorf("there is no store %s, as there is no module weixin.stores.%s: write store storage or store redis redis://127.0.0.1:6379/0", name, name)
	}
	return nil
}

// parseStore parses the app's option. Syntax:
//
//	store <module> ...
func parseStore(d *caddyfile.Dispenser, raw *json.RawMessage, at *option.Positions) error {
	if *raw != nil {
		return d.Err("store is given twice: leave one out")
	}
	if !d.NextArg() {
		return d.Err("store needs a module: write store storage, for example")
	}
	name := d.Val()
	if err := checkStoreName(name); err != nil {
		return d.Err(err.Error())
	}
	at.Remember(d, "store "+name, "url")
	if arg := *d; name == "redis" && arg.NextArg() {
		if err := option.CheckValue(&arg, "url", arg.Val()); err != nil {
			return err
		}
	}
	unm, err := caddyfile.UnmarshalModule(d, "weixin.stores."+name)
	if err != nil {
		return err
	}
	st, ok := unm.(store.Store)
	if !ok {
		return d.Errf("module weixin.stores.%s is no store", name)
	}
	*raw = caddyconfig.JSONModuleObject(st, "module", name, nil)
	return nil
}
