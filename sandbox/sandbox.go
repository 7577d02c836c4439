package sandbox

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

const maxBody = 128 << 20

// Server is a WeChat of its own. It is safe for concurrent use.
type Server struct {
	config  Config
	control http.Handler
	pusher  http.RoundTripper // of pushes to callbacks
	soon    chan struct{}     // asks Run to push

	// These never change; what they point to is guarded by mu.
	corps        map[string]*corp
	corpIDs      []string // in the order of the configuration
	components   map[string]*component
	componentIDs []string

	mu       sync.Mutex // guards everything below
	byAppID  map[string]*account
	accounts []*account
	tokens   map[string]*token // all that are remembered, the dead ones too

	// unattributed counts the calls refused for a missing or unknown token,
	// which tells nothing of the account.
	unattributed int
	sent         []*sentMessage

	platformCertificates certificatePair // with nothing in it where no account has api_security
	sentSize             int
	rids                 *recent[ridEntry]
}

// New returns a sandbox in which no token has been fetched yet.
func New(config Config) (*Server, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		config:     config,
		pusher:     newPusher(),
		soon:       make(chan struct{}, 1),
		corps:      make(map[string]*corp),
		components: make(map[string]*component),
		byAppID:    make(map[string]*account),
		tokens:     make(map[string]*token),
		rids:       newRecent[ridEntry](maxRIDs),
	}
	if err := s.addAccounts(config.Accounts); err != nil {
		return nil, err
	}
	if err := s.addCorps(config.Corps); err != nil {
		return nil, err
	}
	if err := s.addComponents(config.Components, time.Now()); err != nil {
		return nil, err
	}
	s.control = s.newControl()
	return s, nil
}

// ServeHTTP answers as api.weixin.qq.com and qyapi.weixin.qq.com would, or
// controls the sandbox where the path begins with /sandbox/.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/sandbox/") {
		s.control.ServeHTTP(w, r)
		return
	}
	if r.ContentLength < 0 {
		w.WriteHeader(http.StatusPreconditionFailed)
		return
	}
	if r.ContentLength > maxBody {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	var body io.Reader = http.NoBody
	if r.Body != nil {
		body = http.MaxBytesReader(w, r.Body, maxBody)
	}
	c := &call{server: s, r: r, body: body, now: time.Now()}
	route, result, err := c.answer()

	// Whatever the answer is, WeChat has taken the whole request before it; a
	// client that is still sending might miss an earlier one.
	if _, readErr := io.Copy(io.Discard, body); readErr != nil {
		err = errors.Join(readErr, err)
	}
	c.write(w, route, result, err)
}

// answer finds the route and returns what is to be written as JSON, a blob, or
// an error, which is an *apiError unless the request's body could not be read.
// Whatever else is wrong, a token is checked first.
func (c *call) answer() (*route, any, error) {
	r := c.route()
	if err := c.authorize(r); err != nil {
		return r, nil, err
	}
	if r == nil {
		if c.server.config.Lenient {
			return nil, okStatus, nil
		}
		return nil, nil, c.refuse(invalidURL)
	}
	if err := c.read(r); err != nil {
		return r, nil, err
	}
	if err := c.unseal(r); err != nil {
		return r, nil, err
	}
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	result, err := c.handleLocked(r)
	return r, result, err
}

// handleLocked does what a route is for.
func (c *call) handleLocked(r *route) (any, error) {
	if err := c.checkParams(r); err != nil {
		return nil, err
	}
	result, err := r.handle(c)
	if err == nil && r.sends {
		c.noteMessageLocked()
	}
	return result, err
}

// route returns what stands behind the path, nil where there is nothing, and
// finds out who is asked.
func (c *call) route() *route {
	path := c.r.URL.Path
	c.wecom = c.isWeCom(path)
	if c.wecom {
		return weComRoutes[path]
	}
	return officialRoutes[path]
}

// officialRoutes are api.weixin.qq.com's. Handlers look into it, so that it
// cannot be made before them.
var officialRoutes table

func init() {
	officialRoutes = newTable(
		tokenRoutes(), userRoutes(), tagRoutes(), messageRoutes(), massRoutes(), templateRoutes(), subscriptionRoutes(),
		menuRoutes(), mediaRoutes(), materialRoutes(), draftRoutes(), linkRoutes(), codeRoutes(), datacubeRoutes(),
		platformRoutes(), miniProgramRoutes(), snsRoutes(), componentRoutes(),
	)
}

// authorize checks the token that a path takes, unknown paths included: of
// those, only what is below /sns/ takes none.
func (c *call) authorize(r *route) error {
	if r != nil && r.takes == noToken || r == nil && !c.wecom && strings.HasPrefix(c.r.URL.Path, "/sns/") {
		return nil
	}
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	value := c.token(r)
	t := c.server.tokens[value]
	if t == nil || !t.issuer.owner.serves(c, r) {
		c.server.unattributed++
		return c.refuseToken(value)
	}
	counted := t.issuer.owner.count()
	err := t.refusal(c)
	if err == nil {
		err = c.ordered(counted)
	}
	if isTokenError(err) {
		counted.rejected++
		return err
	}
	counted.calls++
	t.issuer.owner.join(c)
	return err
}

// token returns the token of a request. At a component's paths it may stand in
// either parameter.
func (c *call) token(r *route) string {
	value := c.param("access_token")
	switch {
	case c.wecom:
		return value
	case r != nil && r.fixedParam:
		return c.param("component_access_token")
	case value != "":
		return value
	case r == nil || r.takes == componentToken || r.component || strings.HasPrefix(r.path, "/cgi-bin/component/"):
		return c.param("component_access_token")
	}
	return ""
}

// refuseToken refuses a token that the sandbox has not issued.
func (c *call) refuseToken(value string) error {
	switch {
	case value == "":
		return c.refuse(accessTokenMissing)
	case !c.wecom && tokenForm.MatchString(value):
		return refuse(invalidCredential)
	}
	return c.refuse(invalidAccessToken)
}

// ordered returns the failure that a test has ordered, if one is due.
func (c *call) ordered(counted *counters) error {
	due := counted.failures.next(apiEndpoint)
	if due == nil {
		return nil
	}
	if due.msg == "" {
		return c.refuse(due.code)
	}
	return due
}

// owner is who tokens are issued to: an account, a platform or an app of WeCom.
type owner interface {
	count() *counters
	// serves reports whether a path takes the owner's kind of token; a path that
	// nothing is known of takes any.
	serves(c *call, r *route) bool
	// join has the call know the owner.
	join(c *call)
}

// counters are what an owner's clients have done so far.
type counters struct {
	refused  int // calls of the token endpoints
	calls    int // that passed the token check
	rejected int // that did not
	messages int
	failures failures

	ticketFetches int
}

func (c *counters) count() *counters { return c }
