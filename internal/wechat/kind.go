package wechat

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Kind is what is known about a kind of account: facts, and nothing that
// depends on one account. To add a kind, write a file of facts such as
// official.go, which ends with Indexed, and add the kind to Kinds.
type Kind struct {
	// Name is what the configuration calls the kind.
	Name string

	// Host is the base URL of the kind's API.
	Host string

	// MoreHosts are other names of the host, which SDKs use for a region or from
	// former times. It is the same API at each, and the same tokens.
	MoreHosts []string

	// ID is the option that identifies an account, and the parameter of the
	// token endpoints that takes it: appid or corpid.
	ID string

	// SecretsApart is whether one identity may have several secrets, each with
	// a token of its own, as the applications of a corporation have.
	SecretsApart bool

	// TokenEndpoints hand out an account's token. The first is the default.
	TokenEndpoints []*TokenEndpoint

	// SecretParams are all names that the secret has at any API. Whatever of them
	// a client has sent to a TakesSecret path is replaced.
	SecretParams []string

	// TokenParam is the query parameter that takes the token.
	TokenParam string

	// MoreTokenParams are other parameters that take a token of the kind's.
	MoreTokenParams []string

	// TokenErrors are the errcodes of APIs that mean that the token was refused
	// and that a new one cures it. The token is checked before anything else is
	// done, so a request that was refused with one of them had no effect and may
	// be sent again.
	TokenErrors []int

	// Undecided are the errcodes of APIs that tell nothing about the token: it
	// may not have been looked at.
	Undecided []int

	// TokenExpired and TokenForged tell applications that a token of the proxy's own
	// has expired, and that it is none. SDKs are to ask for another.
	TokenExpired, TokenForged Error

	// SecretRefused tells an application that asks for a token that it has shown
	// the wrong secret.
	SecretRefused Error

	// OwnErrcode is the errcode of all errors of the proxy's own at an API, but for
	// those that are about its own tokens; 0 is that of the error's kind.
	OwnErrcode int

	// HintMark is where an errmsg goes over into what is about one request alone,
	// or "".
	HintMark string

	// Told are the errcodes of APIs that an operator has to do something about:
	// Advice says what.
	Told []int

	// ForeignTokens are the query parameters with tokens of others than accounts,
	// beside which no account's token is taken.
	ForeignTokens []string

	// ErrorHeader is the header in which every answer has its errcode, or "".
	// Where the header is, the body need not be looked at.
	ErrorHeader string

	// ErrorMessageHeader is the header in which every answer has its errmsg, or "".
	ErrorMessageHeader string

	// CheckPath is a GET API that looks at the token and has no effect.
	CheckPath string

	// Routes are the paths that take something else than the account's token.
	// All others take that.
	Routes []Route

	// Tickets are the types of tickets, and where they are to be had.
	Tickets TicketTypes

	// Families are beginnings of paths that no other kind has.
	Families []string

	// Failures classify the errcodes of token endpoints. What is not listed is
	// Transient.
	Failures map[int]FailureClass

	// Advice says for an errcode of a token endpoint what an operator has to do,
	// in English and in Chinese. {ip} stands for the address that the errmsg
	// names.
	Advice map[int][2]string

	// RejectedAdvice says what to do while APIs reject every token, and
	// CompetingAdvice what to do while somebody else's fetches kill tokens.
	RejectedAdvice, CompetingAdvice [2]string

	exact       map[string]*Route
	prefixes    []*Route
	tokenParams []string
}

// Kinds are all kinds of accounts that can be configured.
var Kinds = []*Kind{Official, WeCom}

// KindNamed returns the kind of that name, or nil. "" is the default kind.
func KindNamed(name string) *Kind {
	if name == "" {
		return Official
	}
	i := slices.IndexFunc(Kinds, func(k *Kind) bool { return k.Name == name })
	if i < 0 {
		return nil
	}
	return Kinds[i]
}

// HostNames are the names of all kinds' hosts.
var HostNames = hostNames()

func hostNames() []string {
	var names []string
	for _, k := range Kinds {
		names = append(append(names, k.hostName()), k.MoreHosts...)
	}
	return names
}

func (k *Kind) hostName() string {
	_, name, _ := strings.Cut(k.Host, "://")
	return name
}

// IsHost reports whether the host of a request, which may have a port, is that of
// the kind's API.
func (k *Kind) IsHost(host string) bool {
	host, _, _ = strings.Cut(host, ":")
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == k.hostName() || slices.Contains(k.MoreHosts, host)
}

// TokenParams returns all parameters that take a token of the kind's, TokenParam
// first.
func (k *Kind) TokenParams() []string { return k.tokenParams }

// IsTokenError reports whether an API's errcode means that a new token is needed.
func (k *Kind) IsTokenError(errcode int) bool { return slices.Contains(k.TokenErrors, errcode) }

// Accepts reports whether an API's errcode means that the token was looked at
// and found good.
func (k *Kind) Accepts(errcode int) bool {
	return !slices.Contains(k.TokenErrors, errcode) && !slices.Contains(k.Undecided, errcode)
}

// HeaderErrcode returns the errcode that an answer has in its header, if the kind's
// answers have it there.
func (k *Kind) HeaderErrcode(h http.Header) (errcode int, ok bool) {
	if k.ErrorHeader == "" {
		return 0, false
	}
	errcode, err := strconv.Atoi(h.Get(k.ErrorHeader))
	return errcode, err == nil
}

// WithoutHint returns an errmsg without what is about one request alone: the hint,
// the address and where to read more.
func (k *Kind) WithoutHint(errmsg string) string {
	if k.HintMark == "" {
		return errmsg
	}
	before, _, _ := strings.Cut(errmsg, k.HintMark)
	return before
}

// TokenEndpoint returns the kind's token endpoint of that name, or nil. "" is
// the default.
func (k *Kind) TokenEndpoint(name string) *TokenEndpoint {
	for i, e := range k.TokenEndpoints {
		if e.Name == name || name == "" && i == 0 {
			return e
		}
	}
	return nil
}
