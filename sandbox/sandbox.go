package sandbox

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// The account of a sandbox that is given none.
const (
	DemoAppID     = "wx0000000000000001"
	DemoAppSecret = "0123456789abcdef0123456789abcdef"
)

const (
	defaultExpiresIn = 2 * time.Hour
	minExpiresIn     = 2 * time.Second // half of it is the overlap, and expires_in is in whole seconds
	maxOverlap       = 5 * time.Minute

	maxBody = 128 << 20
)

// Config says which accounts a sandbox knows and how long their tokens live.
type Config struct {
	// Accounts are the accounts the sandbox knows. Default: the demo account,
	// DemoAppID with DemoAppSecret.
	Accounts []Account

	// ExpiresIn is the lifetime of a token, at least two seconds. Default: two
	// hours.
	ExpiresIn time.Duration
}

// Account is an official account or a mini program.
type Account struct {
	// The account's AppID: letters, digits, "-" and "_". Placeholders are
	// resolved when the configuration is loaded. Default: none, it is required.
	AppID string `json:"appid,omitempty"`

	// The account's AppSecret. Placeholders are resolved when the configuration
	// is loaded. Default: none, it is required.
	AppSecret string `json:"secret,omitempty"`
}

// String returns the AppID alone, so that no log line shows the AppSecret.
func (a Account) String() string { return a.AppID }

// GoString returns the AppID alone as well.
func (a Account) GoString() string { return a.AppID }

// Server is a WeChat of its own. It is safe for concurrent use.
type Server struct {
	control http.Handler

	// byAppID and accounts never change; what they point to is guarded by mu.
	byAppID  map[string]*account
	accounts []*account

	mu sync.Mutex
	// unattributed counts the calls refused for a missing or unknown token,
	// which tells nothing of the account.
	unattributed int
}

var appIDForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// New returns a sandbox in which no token has been fetched yet.
func New(config Config) (*Server, error) {
	if config.ExpiresIn == 0 {
		config.ExpiresIn = defaultExpiresIn
	}
	if config.ExpiresIn < minExpiresIn {
		return nil, fmt.Errorf("expires_in is %s: a token has to live for %s at least", config.ExpiresIn, minExpiresIn)
	}
	if len(config.Accounts) == 0 {
		config.Accounts = []Account{{AppID: DemoAppID, AppSecret: DemoAppSecret}}
	}
	s := &Server{byAppID: make(map[string]*account)}
	for _, a := range config.Accounts {
		switch {
		case !appIDForm.MatchString(a.AppID):
			return nil, fmt.Errorf("%q is no AppID: write 1 to 64 letters, digits, hyphens or underscores", a.AppID)
		case a.AppSecret == "":
			return nil, fmt.Errorf("account %s has no secret", a.AppID)
		case s.byAppID[a.AppID] != nil:
			return nil, fmt.Errorf("account %s is configured twice", a.AppID)
		}
		added := newAccount(a, config.ExpiresIn)
		s.byAppID[a.AppID] = added
		s.accounts = append(s.accounts, added)
	}
	s.control = s.newControl()
	return s, nil
}

// ServeHTTP answers as api.weixin.qq.com would, or controls the sandbox where
// the path begins with /sandbox/.
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
	result, err := s.answer(&call{server: s, r: r, body: body, now: time.Now()})

	// Whatever the answer is, WeChat has taken the whole request before it; a
	// client that is still sending might miss an earlier one.
	if _, readErr := io.Copy(io.Discard, body); readErr != nil {
		err = errors.Join(readErr, err)
	}
	writeAnswer(w, r.URL.Path, result, err)
}

// call is one request to an API.
type call struct {
	server  *Server
	account *account // whose token the request carries, where the path takes one
	r       *http.Request
	body    io.Reader
	now     time.Time

	json   []byte     // the body, where the route reads JSON
	upload *mediaFile // the file, where the route reads an upload; nil if there was none
}

// param returns a parameter of the query, "" where there is none.
func (c *call) param(name string) string {
	value, _ := wechat.QueryParam(c.r.URL.RawQuery, name)
	return value
}

// route is what stands behind a path. Its handler runs with the server locked.
type route struct {
	reads  bodyKind
	handle func(*call) (any, error)
}

var routes = map[string]route{
	"/cgi-bin/token":        {noBody, (*call).classicToken},
	"/cgi-bin/stable_token": {jsonBody, (*call).stableToken},

	"/cgi-bin/clear_quota":            {jsonBody, (*call).clearQuota},
	"/cgi-bin/clear_quota/v2":         {jsonBody, (*call).clearQuotaV2},
	"/cgi-bin/get_api_domain_ip":      {noBody, (*call).addresses},
	"/cgi-bin/getcallbackip":          {noBody, (*call).addresses},
	"/cgi-bin/media/get":              {noBody, (*call).mediaGet},
	"/cgi-bin/media/upload":           {mediaBody, (*call).mediaUpload},
	"/cgi-bin/menu/create":            {jsonBody, (*call).menuCreate},
	"/cgi-bin/menu/delete":            {noBody, (*call).menuDelete},
	"/cgi-bin/menu/get":               {noBody, (*call).menuGet},
	"/cgi-bin/message/custom/send":    {jsonBody, (*call).customSend},
	"/cgi-bin/message/subscribe/send": {jsonBody, (*call).templateSend},
	"/cgi-bin/message/template/send":  {jsonBody, (*call).templateSend},
	"/cgi-bin/qrcode/create":          {jsonBody, (*call).qrcodeCreate},
	"/cgi-bin/ticket/getticket":       {noBody, (*call).getTicket},
	"/cgi-bin/user/get":               {noBody, (*call).userGet},
	"/cgi-bin/user/info":              {noBody, (*call).userInfo},

	"/wxa/business/getuserphonenumber": {jsonBody, (*call).phoneNumber},
	"/wxa/getwxacode":                  {jsonBody, (*call).wxaCode},
	"/wxa/getwxacodeunlimit":           {jsonBody, (*call).wxaCodeUnlimited},
	"/wxa/msg_sec_check":               {jsonBody, (*call).msgSecCheck},

	"/sns/auth":                 {noBody, (*call).snsAuth},
	"/sns/jscode2session":       {noBody, (*call).jscode2session},
	"/sns/oauth2/access_token":  {noBody, (*call).userAccessToken},
	"/sns/oauth2/refresh_token": {noBody, (*call).userRefreshToken},
	"/sns/userinfo":             {noBody, (*call).snsUserInfo},
}

// answer returns what is to be written as JSON, a blob, or an error, which is a
// *wechat.Error unless the request's body could not be read.
func (s *Server) answer(c *call) (any, error) {
	path := c.r.URL.Path
	route, known := routes[path]
	switch wechat.KindOf(path) {
	case wechat.ComponentToken:
		return nil, refuse(wechat.APIUnauthorized)
	case wechat.AccountToken:
		if err := c.authorize(); err != nil {
			return nil, err
		}
		if !known {
			return success, nil
		}
	default: // credentials of the route's own
	}
	if err := c.read(route.reads); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return route.handle(c)
}

// authorize checks the account's token.
func (c *call) authorize() error {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	value := c.param("access_token")
	t := c.server.findToken(value)
	if t == nil {
		c.server.unattributed++
		return refuse(unknownTokenErrcode(value))
	}
	a := t.issuer.account
	err := t.refusal(c.now)
	if err == nil {
		err = a.failures.next(apiEndpoint)
	}
	if isTokenError(err) {
		a.rejected++
		return err
	}
	a.calls++
	c.account = a
	return err
}

func isTokenError(err error) bool {
	refused, ok := errors.AsType[*wechat.Error](err)
	return ok && wechat.IsTokenError(refused.Code)
}
