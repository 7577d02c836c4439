package store

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// parse reads a URL in the two places where that is done.
func parse(rawURL string) (*redisOptions, error) {
	d := caddyfile.NewTestDispenser("redis " + rawURL)
	if !strings.Contains(rawURL, "{") && !strings.ContainsAny(rawURL, " \t\r\n\"`\\") {
		if err := new(Redis).UnmarshalCaddyfile(d); err != nil {
			return nil, err
		}
	}
	resolved, err := resolveRedisURL(rawURL)
	if err != nil {
		return nil, err
	}
	return parseRedisURL(resolved)
}

func TestRedisURLs(t *testing.T) {
	for rawURL, want := range map[string]struct {
		password string
		cause    string // "" where it is taken
	}{
		"redis://127.0.0.1:6379/0":                            {},
		"redis://127.0.0.1":                                   {},
		"redis://[::1]:6379":                                  {},
		"rediss://proxy:word@redis.example.com:6380/2":        {password: "word"},
		"redis://:p%40s%2Fs%23w%3Fo%3Ard%25@127.0.0.1:6379/0": {password: "p@s/s#w?o:rd%"},
		"redis://:p@ss@127.0.0.1":                             {password: "p@ss"},
		"unix:///run/redis.sock":                              {},
		"unix://:word@/run/redis.sock?db=2":                   {password: "word"},
		"redis://a:6379?addr=b:6379&addr=c:6379":              {},
		"rediss://u:word@a:6379?addr=b:6379":                  {password: "word"},
		"redis://a:26379/1?master_name=m&addr=b:26379":        {},
		"redis://a:26379?master_name=m&password=word":         {password: "word"},
		"redis://127.0.0.1:6379?pool_size=5&dial_timeout=2s":  {},

		"localhost:6379":                                {cause: "redis://127.0.0.1:6379/0"},
		"http://localhost:6379":                         {cause: "begins with redis://"},
		"redis://":                                      {cause: "no host"},
		"redis:///0":                                    {cause: "no host"},
		"redis://:6379/0":                               {cause: "no host"},
		"redis:6379":                                    {cause: "no host"},
		"redis://:/word@127.0.0.1:6379/0":               {cause: "percent-encode"},
		"redis://:wo/rd@127.0.0.1:6379/0":               {cause: "percent-encode"},
		"redis://u:1/word@127.0.0.1:6379/0":             {cause: "percent-encode"},
		"redis://:wo#rd@127.0.0.1:6379/0":               {cause: "percent-encode"},
		"redis://u:12#word@127.0.0.1:6379/0":            {cause: "has a #"},
		"redis://127.0.0.1:6379/0#":                     {cause: "has a #"},
		"redis://127.0.0.1:6379/0#x":                    {cause: "has a #"},
		"redis://u:12?word@127.0.0.1:6379/0":            {cause: "percent-encode"},
		"redis://:wo?rd@127.0.0.1:6379/0":               {cause: "percent-encode"},
		"redis://:100%word@127.0.0.1:6379/0":            {cause: "percent-encode"},
		"redis://a?master_name=m&password=100%word":     {cause: "percent-encode"},
		"redis://a:6379/0?x=1":                          {cause: "unknown parameter"},
		"redis://a:6379/0?tls=yes":                      {cause: "tls (write rediss:// for TLS)"},
		"redis://a:6379/0?timeout=5s":                   {cause: "into the block"},
		"redis://a:6379/zero":                           {cause: "database of url is no number"},
		"redis://a:6379/0/1":                            {cause: "more than a database"},
		"redis://a:6379?pool_size=many":                 {cause: "a value that is none of its kind"},
		"redis://a:6379?pool_size=99999999999":          {cause: "pool_size"},
		"redis://a:6379?pool_size=-5":                   {cause: "pool_size"},
		"redis://a:6379?addr=b":                         {cause: "<host>:<port>"},
		"unix:///run/redis.sock?addr=b:1":               {cause: "must begin with redis://"},
		"unix://run/redis.sock":                         {cause: "three slashes"},
		"unix://":                                       {cause: "three slashes"},
		"redis://word@127.0.0.1":                        {cause: "after a colon"},
		"redis://u:99999":                               {cause: "no port"},
		"redis://a:0":                                   {cause: "no port"},
		"redis://a?master_name=m&route_by_latency=true": {cause: "replicas"},
		"redis://a?master_name=m&route_randomly=true":   {cause: "replicas"},
		"{env.REDIS_URL_THAT_IS_UNSET}":                 {cause: "set the environment variable REDIS_URL_THAT_IS_UNSET"},
		"redis://:{env.REDIS_PASSWORD_UNSET}@127.0.0.1": {cause: "set the environment variable REDIS_PASSWORD_UNSET"},
		"{file./nowhere/redis}":                         {cause: "write the URL into the file /nowhere/redis"},
		"redis://:wo{rd}@127.0.0.1":                     {cause: "%7B"},
	} {
		o, err := parse(rawURL)
		if want.cause == "" {
			if err != nil {
				t.Errorf("%s: %v", rawURL, err)
			} else if got := strings.Join(o.passwords(), ""); got != want.password {
				t.Errorf("%s: the password is %q", rawURL, got)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want.cause) {
			t.Errorf("%s: got %v, want %s", rawURL, err, want.cause)
		}
		if err != nil && strings.Contains(strings.ReplaceAll(err.Error(), "password", ""), "word") {
			t.Errorf("%s: got %v", rawURL, err)
		}
	}
}

func TestRedisURLFromPlaceholders(t *testing.T) {
	t.Setenv("REDIS_URL", "\ufeffredis://:word@127.0.0.1:6379/0\n")
	t.Setenv("REDIS_PASSWORD", "word")
	for _, rawURL := range []string{"{env.REDIS_URL}", "redis://:{env.REDIS_PASSWORD}@127.0.0.1:6379/0"} {
		if o, err := parse(rawURL); err != nil || o.single.Password != "word" {
			t.Errorf("%s: %v", rawURL, err)
		}
	}
}

// The rest of a line may be the rest of a password.
func TestRedisCaddyfile(t *testing.T) {
	for input, want := range map[string]string{
		"redis":                            "redis://127.0.0.1:6379/0",
		"redis redis://:my secret@h:1":     "%20",
		"redis redis://h {\n prefix\n}":    "prefix takes one value",
		"redis redis://h {\n timeout x\n}": "write it like 1s",
		"redis redis://h {\n other x\n}":   "write one of prefix, timeout",
	} {
		err := new(Redis).UnmarshalCaddyfile(caddyfile.NewTestDispenser(input))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want %s", input, err, want)
		}
	}
	s := new(Redis)
	if err := s.UnmarshalCaddyfile(caddyfile.NewTestDispenser("redis {env.REDIS_URL} {\n prefix x:\n timeout 2s\n}")); err != nil ||
		s.URL != "{env.REDIS_URL}" || s.Prefix != "x:" || s.Timeout != caddy.Duration(2*time.Second) {
		t.Errorf("got %+v, %v", s, err)
	}
}

// A configuration is loaded without the network.
func TestRedisProvisionLooksNothingUp(t *testing.T) {
	was := net.DefaultResolver
	defer func() { net.DefaultResolver = was }()
	var asked atomic.Int32
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		asked.Add(1)
		return nil, errors.New("no network")
	}}
	for _, rawURL := range []string{"redis://redis.example.com", "redis://a.example.com?addr=b.example.com:1", "redis://a.example.com?master_name=m", "rediss://a.example.com"} {
		open(t, &Redis{URL: rawURL})
		if n := asked.Swap(0); n > 0 {
			t.Errorf("%s: the DNS was asked %d times", rawURL, n)
		}
	}
}

// fuzzMarker is a password. No four characters of it in a row are in any error.
const fuzzMarker = "Zq7Vx9Kw3J"

// Whatever is wrong with a URL, its password is in no error.
func FuzzRedisURL(f *testing.F) {
	for _, template := range []string{
		"redis://:%s@127.0.0.1:6379/0", "redis://:/%s@h", "redis://:#%s@h", "redis://u:?%s@h", "redis://:%%%s@h", "redis://u:12/%s@h:1",
		"redis://%s@h", "redis://h/%s", "redis://h?%s", "redis://h?a=%s", "redis://h#%s", "%s", "unix://%s", "unix:///x?db=%s",
		"redis://h?master_name=%s&password=%s&x", "redis://h?addr=%s", "redis://h:%s", "redis://:{%s}@h", "redis://:{env.X}%s@h", "{%s}", "redis:%s",
		"redis://:a %s@h", "rediss://[%s]:1", "redis://:\\%s@h", "redis://:\x00%s@h", "redis://h?pool_size=%s", "redis://h?read_timeout=%s",
	} {
		f.Add(template)
	}
	f.Fuzz(func(t *testing.T, template string) {
		rawURL := strings.ReplaceAll(template, "%s", fuzzMarker)
		if strings.Contains(rawURL, "{env."+fuzzMarker[:1]) || strings.Contains(rawURL, "{file.") {
			t.Skip() // a name, and none of a password
		}
		for _, form := range []string{rawURL, strings.ReplaceAll(rawURL, fuzzMarker, url.QueryEscape(fuzzMarker[:5]+"/"+fuzzMarker[5:]))} {
			o, err := parse(form)
			if err == nil {
				if !strings.Contains(form, "idle") { // or it dials
					_ = o.client(time.Second).Close() // go-redis panics on some options
				}
				continue
			}
			for i := range len(fuzzMarker) - 3 {
				if part := fuzzMarker[i : i+4]; strings.Contains(err.Error(), part) {
					t.Errorf("%q: the password is in %q", form, err)
				}
			}
		}
	})
}
