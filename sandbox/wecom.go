package sandbox

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Errcodes of qyapi.weixin.qq.com that api.weixin.qq.com does not have, or has
// for something else.
const (
	weComInvalidAgentID    = 40056
	weComForeignSecret     = 40091
	weComUserIDMissing     = 41009
	weComAgentIDMissing    = 41011
	weComNoDepartment      = 60003
	weComIPNotAllowed      = 60020
	weComNoUser            = 60111
	weComAllInvalid        = 81013
	weComNobody            = 82001
	weComNoExternalContact = 84061
	weComInvalidTicketType = 91040
	weComInvalidWebhook    = 93000
	weComForeignAgent      = 301002
)

// weComMessages are WeCom's words where they are not WeChat's.
var weComMessages = map[int]string{ //nolint:gosec // words about secrets are none
	invalidCredential:      "invalid credential",
	invalidOpenID:          "invalid UserID",
	invalidAppID:           "invalid corpid",
	appIDMissing:           "corpid missing",
	appSecretMissing:       "corpsecret missing",
	quotaExhausted:         "api freq out of limit",
	weComInvalidAgentID:    "invalid agentid",
	weComForeignSecret:     "invalid secret, it is of another corp",
	weComUserIDMissing:     "missing userid",
	weComAgentIDMissing:    "missing agentid",
	weComNoDepartment:      "department not found",
	weComIPNotAllowed:      "not allow to access from your ip",
	weComNoUser:            "userid not found",
	weComAllInvalid:        "user & party & tag all invalid",
	weComNobody:            "touser, toparty and totag are empty",
	weComNoExternalContact: "not external contact",
	weComInvalidTicketType: "invalid ticket type",
	weComInvalidWebhook:    "invalid webhook url",
	weComForeignAgent:      "not allow operate another agent with this accesstoken",
}

func refuseWeCom(errcode int) error {
	msg, ok := weComMessages[errcode]
	if !ok {
		msg = messages[errcode]
	}
	return &apiError{code: errcode, msg: msg}
}

// weComHint is what ends an errmsg of WeCom's.
func weComHint(r *http.Request, errcode int) string {
	return fmt.Sprintf(", hint: [%d_%d_%016x], from ip: %s, more info at https://open.work.weixin.qq.com/devtool/query?e=%d",
		time.Now().Unix(), 1+rand.IntN(99), rand.Uint64(), clientIP(r), errcode)
}

func clientIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// setWeComHeaders tells the errcode in the header too, as WeCom does of every
// answer, files included.
func setWeComHeaders(header http.Header, result any) {
	code, msg := success, "ok"
	switch answer := result.(type) {
	case status:
		code, msg = answer.Errcode, answer.Errmsg
	case object:
		if text, ok := answer["errmsg"].(string); ok {
			msg = text
		}
	}
	header.Set("Error-Code", strconv.Itoa(code))
	header.Set("Error-Msg", msg)
	header.Set("X-W-No", "1")
}

// weComRoutes are qyapi.weixin.qq.com's.
var weComRoutes table

func init() {
	weComRoutes = newTable(corpRoutes(), directoryRoutes(), appRoutes(), externalRoutes())
}

// weComTokenLength is what tells a token of WeCom's, which has no form, from
// other text.
const weComTokenLength = 214

// isWeCom reports whether a request is for WeCom. Both APIs have their paths
// below /cgi-bin/: what both have is the one's to whom the token belongs.
func (c *call) isWeCom(path string) bool {
	s := c.server
	if len(s.corps) == 0 {
		return false
	}
	only := weComRoutes[path] != nil && officialRoutes[path] == nil
	value := c.param("access_token")
	s.mu.Lock()
	t := s.tokens[value]
	s.mu.Unlock()
	switch {
	case !strings.HasPrefix(path, "/cgi-bin/"):
		return false
	case t != nil:
		_, agents := t.issuer.owner.(*agent)
		return agents || only
	case only, strings.HasPrefix(c.r.Host, "qyapi."), len(s.config.Accounts)+len(s.config.Components) == 0:
		return true
	case officialRoutes[path] != nil && weComRoutes[path] == nil:
		return false
	}
	return len(value) >= weComTokenLength && !tokenForm.MatchString(value)
}
