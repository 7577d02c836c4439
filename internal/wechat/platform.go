package wechat

// Platform is the kind of third-party platforms: of a platform's own account,
// whose token is the component_access_token, and of the accounts that have
// authorised it, whose tokens are authorizer_access_tokens. It is configured as
// a platform, not as an account.
var Platform = (&Kind{
	Name:          "platform",
	Host:          Official.Host,
	MoreHosts:     Official.MoreHosts,
	ID:            "appid",
	SecretParams:  []string{"component_appsecret", "component_secret", "appsecret"},
	TokenParam:    "access_token",
	TokenErrors:   Official.TokenErrors,
	Undecided:     platformUndecided,
	TokenExpired:  Official.TokenExpired,
	TokenForged:   Official.TokenForged,
	SecretRefused: Official.SecretRefused,
	ForeignTokens: Official.ForeignTokens,
	CheckPath:     Official.CheckPath,
	Routes:        platformRoutes,
	Families:      Official.Families,

	MoreTokenParams: []string{ComponentTokenParam},

	Told:            platformTold,
	Failures:        platformFailures,
	Advice:          platformAdvice,
	RejectedAdvice:  platformRejectedAdvice,
	CompetingAdvice: platformCompetingAdvice,
}).Indexed()
