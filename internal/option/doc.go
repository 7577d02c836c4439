// Package option reads the options of a configuration, in a Caddyfile and in
// JSON: their values with placeholders, what can be wrong with them and how it is
// mended, and where they stand. It knows no account, and of the options of others
// no more than their names.
package option

// Options whose values have a form of WeChat's, or are secret.
const (
	Kind       = "kind"
	AppID      = "appid"
	CorpID     = "corpid"
	AgentID    = "agentid"
	Secret     = "secret"
	Key        = "key"
	PushToken  = "push_token"
	PushAESKey = "push_aes_key"
	Sign       = "sign"
	Verify     = "verify"
)
