package wechat

// Place says where the token of a kind of account goes, and how its APIs refuse
// one.
type Place struct {
	// Parameter is the query parameter that takes the token.
	Parameter string

	// Takes says whether the API at a path takes the account's token.
	Takes func(path string) bool

	// IsTokenError says whether an errcode means that a new token is needed.
	IsTokenError func(errcode int) bool
}

// Official is the place of official accounts and mini programs.
var Official = Place{
	Parameter:    "access_token",
	Takes:        func(path string) bool { return KindOf(path) == AccountToken },
	IsTokenError: IsTokenError,
}

// DefaultHost is the base URL of the API of official accounts and mini programs.
const DefaultHost = "https://api.weixin.qq.com"
