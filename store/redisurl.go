package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	redisURLExample = "write it like redis://127.0.0.1:6379/0"

	redisURLEncode = "percent-encode what is special in a password (@ is %40, / is %2F, # is %23, ? is %3F, : is %3A, % is %25, a space is %20), and write the URL like redis://user:password@127.0.0.1:6379/0" //nolint:gosec // an example
)

// resolveRedisURL replaces the placeholders of a URL. Its errors repeat nothing
// but those: what stands beside them may be secret, and a password may look like
// one.
func resolveRedisURL(rawURL string) (string, error) {
	repl := caddy.NewReplacer()
	for _, placeholder := range placeholders(rawURL) {
		if value, err := repl.ReplaceOrErr(placeholder, true, true); err != nil || strings.TrimSpace(value) == "" {
			return "", emptyPlaceholder(placeholder)
		}
	}
	resolved, err := repl.ReplaceOrErr(rawURL, true, true)
	if err != nil {
		return "", errors.New("a placeholder of url is empty or unknown: write {env.REDIS_URL} and set that environment variable, for example; { in a password is %7B, and } is %7D")
	}
	// A file may end with line breaks, and begin with a byte order mark.
	return strings.TrimSpace(strings.TrimPrefix(resolved, "\ufeff")), nil
}

// placeholders returns those that stand for the environment or a file.
func placeholders(text string) []string {
	var found []string
	for {
		_, after, ok := strings.Cut(text, "{")
		if !ok {
			return found
		}
		name, rest, ok := strings.Cut(after, "}")
		if !ok {
			return found
		}
		if strings.HasPrefix(name, "env.") || strings.HasPrefix(name, "file.") {
			found = append(found, "{"+name+"}")
		}
		text = rest
	}
}

func emptyPlaceholder(placeholder string) error {
	name := strings.Trim(placeholder, "{}")
	if variable, ok := strings.CutPrefix(name, "env."); ok {
		return fmt.Errorf("url %s is empty: set the environment variable %s, for example in a file for --envfile", placeholder, variable)
	}
	return fmt.Errorf("url %s is empty: write the URL into the file %s", placeholder, strings.TrimPrefix(name, "file."))
}

// redisOptions are what a URL says, for any of the three kinds of client.
type redisOptions struct {
	single   *redis.Options
	cluster  *redis.ClusterOptions
	failover *redis.FailoverOptions
}

// parseRedisURL reads what go-redis reads, and refuses what it would
// misunderstand. Its errors repeat nothing of the URL: where a password is not
// encoded, any part of the URL may be one of its parts.
func parseRedisURL(rawURL string) (*redisOptions, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, errors.New("url cannot be read: " + redisURLEncode)
	}
	if err := checkRedisURL(u, rawURL); err != nil {
		return nil, err
	}
	o := new(redisOptions)
	query := u.Query()
	switch {
	case query.Has("master_name"):
		o.failover, err = redis.ParseFailoverURL(rawURL)
	case query.Has("addr"):
		o.cluster, err = redis.ParseClusterURL(rawURL)
	default:
		o.single, err = redis.ParseURL(rawURL)
	}
	if err != nil {
		return nil, refusedRedisURL(u, err)
	}
	if err := checkPoolSizes(query); err != nil {
		return nil, err
	}
	if o.failover != nil && (o.failover.RouteByLatency || o.failover.RouteRandomly || o.failover.ReplicaOnly) {
		return nil, errors.New("url is to read from replicas, which may not have the newest token: leave out route_by_latency, route_randomly and replica_only")
	}
	return o, nil
}

// checkRedisURL refuses URLs that mean something else than they seem to.
func checkRedisURL(u *url.URL, rawURL string) error {
	_, queryErr := url.ParseQuery(u.RawQuery)
	_, hasPassword := u.User.Password()
	switch {
	case !slices.Contains([]string{"redis", "rediss", "unix"}, u.Scheme):
		return errors.New("url is no Redis URL, which begins with redis://, rediss:// or unix://: " + redisURLExample)
	case strings.Contains(rawURL, "#"):
		return errors.New("url has a #: " + redisURLEncode)
	case u.Scheme == "unix" && (u.Host != "" || u.Path == ""):
		return errors.New("url has no path to a socket: write three slashes, unix:///run/redis.sock, for example")
	case u.Scheme != "unix" && u.Hostname() == "":
		return errors.New("url has no host: " + redisURLEncode)
	case !isPort(u.Port()):
		return errors.New("url has no port between 1 and 65535 after its host: " + redisURLEncode)
	case u.User != nil && !hasPassword:
		return errors.New("url has a user and no password: write redis://:password@127.0.0.1:6379/0 where there is no user, a password alone after a colon")
	case queryErr != nil:
		return errors.New("the part of url after ? cannot be read: " + redisURLEncode)
	}
	return nil
}

// mostConnections is far beyond what the store needs, and what go-redis makes no
// pool of.
const mostConnections = 1 << 16

// checkPoolSizes refuses numbers of connections with which go-redis panics.
func checkPoolSizes(query url.Values) error {
	for _, name := range []string{"pool_size", "pipeline_pool_size", "min_idle_conns", "max_idle_conns", "max_active_conns", "max_concurrent_dials"} {
		n, err := strconv.Atoi(query.Get(name))
		if err == nil && (n < -1 || n > mostConnections || n == -1 && name != "pipeline_pool_size") {
			return fmt.Errorf("%s of url is no number of connections: write one from 0 to %d", name, mostConnections)
		}
	}
	return nil
}

// isPort reports whether a URL's port is one, or left out.
func isPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

// refusedRedisURL says what go-redis does not like about a URL.
func refusedRedisURL(u *url.URL, err error) error {
	cause := "url is no Redis URL"
	for _, c := range []struct{ sign, cause string }{
		{"unexpected option", "url has an unknown parameter" + mistakenParameters(u)},
		{"database number", "the database of url is no number"},
		{"URL path", "url has more than a database after its host"},
		{"addr param", "an addr of url is not <host>:<port>"},
		{"URL scheme", "url must begin with redis:// or rediss:// where it has addr or master_name"},
		{"invalid ", "a parameter of url has a value that is none of its kind"},
	} {
		if strings.Contains(err.Error(), c.sign) {
			cause = c.cause
			break
		}
	}
	cure := redisURLExample
	if strings.Contains(u.Path+u.RawQuery, "@") {
		cure = redisURLEncode // what stands before it was to be a password
	}
	return fmt.Errorf("%s: %s", cause, cure)
}

// redisMistakes are parameters that people write and go-redis does not know, and
// what to write instead.
var redisMistakes = []struct{ name, cure string }{
	{"tls", "write rediss:// for TLS"},
	{"ssl", "write rediss:// for TLS"},
	{"skip_verify", "it needs rediss://, and no addr"},
	{"timeout", "write timeout into the block of store redis"},
	{"prefix", "write prefix into the block of store redis"},
	{"database", "write the number after the host, /0"},
	{"password", "write it before the host, redis://:password@…"},
	{"user", "write it before the host, redis://user:password@…"},
	{"username", "write it before the host, redis://user:password@…"},
}

// mistakenParameters names the parameters of a URL that are common mistakes.
// Others may be a piece of a password.
func mistakenParameters(u *url.URL) string {
	var named strings.Builder
	for _, mistake := range redisMistakes {
		if u.Query().Has(mistake.name) {
			fmt.Fprintf(&named, ", %s (%s)", mistake.name, mistake.cure)
		}
	}
	return named.String()
}

// passwords returns those that the URL has.
func (o *redisOptions) passwords() []string {
	switch {
	case o.failover != nil:
		return []string{o.failover.Password, o.failover.SentinelPassword}
	case o.cluster != nil:
		return []string{o.cluster.Password}
	default:
		return []string{o.single.Password}
	}
}

// client returns the client. Each step of a call takes no longer than timeout:
// dialling, waiting for a connection, reading, writing.
//
// It speaks RESP2, which every server and proxy does, and does not say who it
// is: that is a command which a narrow ACL or a proxy refuses. Nor does it want
// to hear of the server's maintenance, for which go-redis would look the host up
// while the configuration is loaded.
func (o *redisOptions) client(timeout time.Duration) redis.UniversalClient {
	quiet := &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	switch {
	case o.failover != nil:
		f := o.failover
		f.DialTimeout, f.ReadTimeout, f.WriteTimeout, f.PoolTimeout = timeout, timeout, timeout, timeout
		f.ContextTimeoutEnabled, f.DialerRetries, f.Protocol, f.DisableIdentity = true, 1, 2, true
		client := redis.NewFailoverClient(f)
		client.AddHook(withoutHello{})
		return client
	case o.cluster != nil:
		c := o.cluster
		c.DialTimeout, c.ReadTimeout, c.WriteTimeout, c.PoolTimeout = timeout, timeout, timeout, timeout
		c.MaintNotificationsConfig = quiet
		c.ContextTimeoutEnabled, c.DialerRetries, c.Protocol, c.DisableIdentity = true, 1, 2, true
		client := redis.NewClusterClient(c)
		client.OnNewNode(func(node *redis.Client) { node.AddHook(withoutHello{}) })
		return client
	default:
		s := o.single
		s.DialTimeout, s.ReadTimeout, s.WriteTimeout, s.PoolTimeout = timeout, timeout, timeout, timeout
		s.MaintNotificationsConfig = quiet
		s.ContextTimeoutEnabled, s.DialerRetries, s.Protocol, s.DisableIdentity = true, 1, 2, true
		client := redis.NewClient(s)
		client.AddHook(withoutHello{})
		return client
	}
}

// withoutHello answers HELLO in the server's place as servers did before it
// existed, so that the client goes on with AUTH and RESP2. Some proxies close
// the connection on a command that they do not know, and nothing that is kept
// here needs RESP3.
type withoutHello struct{}

// noHelloError is an error of Redis's to the client.
type noHelloError struct{}

func (noHelloError) Error() string { return "ERR unknown command 'HELLO'" }

// RedisError makes it one of Redis's.
func (noHelloError) RedisError() {}

// DialHook implements redis.Hook.
func (withoutHello) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook implements redis.Hook.
func (withoutHello) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() != "hello" {
			return next(ctx, cmd)
		}
		cmd.SetErr(noHelloError{})
		return noHelloError{}
	}
}

// ProcessPipelineHook implements redis.Hook.
func (withoutHello) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

var _ redis.Hook = withoutHello{}
