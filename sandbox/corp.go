package sandbox

import (
	"crypto/subtle"
	"fmt"
	"time"
)

// Corp is a corporation of WeCom.
type Corp struct {
	// The corporation's CorpID. Placeholders are resolved when the configuration
	// is loaded. Default: none, it is required.
	CorpID string `json:"corpid,omitempty"`

	// The corporation's apps. Default: none, there has to be one.
	Agents []Agent `json:"agents,omitempty"`
}

// Agent is an app of a WeCom corporation.
type Agent struct {
	// The app's AgentID, a number. Placeholders are resolved when the
	// configuration is loaded. Default: none, it is required.
	AgentID string `json:"agentid,omitempty"`

	// The app's Secret. Placeholders are resolved when the configuration is
	// loaded. Default: none, it is required.
	Secret string `json:"secret,omitempty"`
}

// String returns the AgentID alone, so that no log line shows the secret.
func (a Agent) String() string { return a.AgentID }

// GoString returns the AgentID alone as well.
func (a Agent) GoString() string { return a.AgentID }

// corp is the state of a corporation. The server's mutex guards it.
type corp struct {
	id         string
	agents     []*agent
	media      mediaStore
	tickets    map[string]*ticket // for wx.config, of all agents together
	loginCodes *recent[struct{}]
}

// agent is the state of an app.
type agent struct {
	counters
	corp    *corp
	id      string
	secret  string
	issuer  *issuer
	tickets map[string]*ticket // for wx.agentConfig
	menu    *menu
}

func (a *agent) serves(c *call, r *route) bool {
	return c.wecom && (r == nil || r.takes == agentToken)
}

func (a *agent) join(c *call) { c.agent = a }

func (s *Server) addCorps(list []Corp) error {
	for _, configured := range list {
		switch {
		case !idForm.MatchString(configured.CorpID):
			return fmt.Errorf("%q is no CorpID: write 1 to 64 letters, digits, hyphens or underscores", configured.CorpID)
		case s.corps[configured.CorpID] != nil:
			return fmt.Errorf("corp %s is configured twice", configured.CorpID)
		case len(configured.Agents) == 0:
			return fmt.Errorf("corp %s has no agent: write agent <agentid> <secret> in its block", configured.CorpID)
		}
		added := &corp{id: configured.CorpID, tickets: make(map[string]*ticket), loginCodes: newRecent[struct{}](maxCodes)}
		for _, a := range configured.Agents {
			if err := s.addAgent(added, a); err != nil {
				return fmt.Errorf("corp %s: %w", added.id, err)
			}
		}
		s.corps[added.id] = added
		s.corpIDs = append(s.corpIDs, added.id)
	}
	return nil
}

func (s *Server) addAgent(to *corp, configured Agent) error {
	switch {
	case !isWhole(configured.AgentID):
		return fmt.Errorf("%q is no AgentID: write a number, 1000002 for example", configured.AgentID)
	case configured.Secret == "":
		return fmt.Errorf("agent %s has no secret", configured.AgentID)
	case to.agent(configured.AgentID) != nil:
		return fmt.Errorf("agent %s is configured twice", configured.AgentID)
	}
	a := &agent{
		counters: counters{failures: make(failures)},
		corp:     to, id: configured.AgentID, secret: configured.Secret, tickets: make(map[string]*ticket),
	}
	a.issuer = newIssuer(s, a)
	a.issuer.prefix, a.issuer.length = "", weComTokenLength
	to.agents = append(to.agents, a)
	return nil
}

func (co *corp) agent(id string) *agent {
	for _, a := range co.agents {
		if a.id == id {
			return a
		}
	}
	return nil
}

// bySecret returns the app that a secret is of.
func (co *corp) bySecret(secret string) *agent {
	for _, a := range co.agents {
		if subtle.ConstantTimeCompare([]byte(a.secret), []byte(secret)) == 1 {
			return a
		}
	}
	return nil
}

func corpRoutes() []route {
	return append(all(noToken,
		get("/cgi-bin/gettoken", "an app's token: the same for as long as it lives", (*call).getToken,
			"corpid={corpid}&corpsecret={corpsecret}", opt("corpid", "corpsecret")...),
		post("/cgi-bin/webhook/send", "sends to a group by its robot, whose key is in the query", (*call).webhookSend,
			`{"msgtype":"text","text":{"content":"hello"}}`, need("msgtype", invalidMessageType)).message(),
	), all(agentToken,
		get("/cgi-bin/get_api_domain_ip", "WeCom's addresses", (*call).addresses, ""),
		get("/cgi-bin/getcallbackip", "the addresses that WeCom comes from", (*call).addresses, ""),
		get("/cgi-bin/get_jsapi_ticket", "the corporation's ticket, for wx.config", (*call).corpTicket, ""),
		get("/cgi-bin/ticket/get", "the app's ticket, for wx.agentConfig, or the one for invoices", (*call).agentTicket,
			"type=agent_config", check("type", weComInvalidTicketType, oneOf("agent_config", "wx_card"))),
		get("/cgi-bin/auth/getuserinfo", "a web page's login", (*call).authUserInfo, "code=zhangsan", need("code", codeMissing)),
		get("/cgi-bin/user/getuserinfo", "the same in its old form", (*call).oldUserInfo, "code=zhangsan", need("code", codeMissing)),
		get("/cgi-bin/miniprogram/jscode2session", "a mini program's login", (*call).weComSession,
			"js_code=zhangsan&grant_type=authorization_code", need("js_code", codeMissing),
			check("grant_type", invalidGrantType, oneOf("authorization_code"))),
	)...)
}

// getToken returns the app's token for as long as it lives, and says of every
// one that it is new.
func (c *call) getToken() (any, error) {
	a, err := c.proveAgent()
	if err == nil {
		err = c.orderedAtToken(&a.counters)
	}
	if err != nil {
		if a != nil {
			a.refused++
		}
		return nil, err
	}
	i := a.issuer
	t := i.current
	if t == nil || !c.now.Before(t.expires) || !i.insists && !t.alive(c.now) {
		t = i.issue(c.now)
	}
	i.fetches++
	return ok(object{"access_token": t.value, "expires_in": int(i.expiresIn / time.Second)}), nil
}

// proveAgent returns the app whose secret came.
func (c *call) proveAgent() (*agent, error) {
	id, secret := c.param("corpid"), c.param("corpsecret")
	co := c.server.corps[id]
	switch {
	case id == "":
		return nil, c.refuse(appIDMissing)
	case secret == "":
		return nil, c.refuse(appSecretMissing)
	case co == nil:
		return nil, c.refuse(invalidAppID)
	}
	if a := co.bySecret(secret); a != nil {
		return a, nil
	}
	for _, other := range c.server.corps {
		if other.bySecret(secret) != nil {
			return nil, c.refuse(weComForeignSecret)
		}
	}
	return nil, c.refuse(invalidCredential)
}

func (c *call) webhookSend() (any, error) {
	if c.param("key") == "" {
		return nil, c.refuse(weComInvalidWebhook)
	}
	return okStatus, nil
}

func (c *call) corpTicket() (any, error) {
	c.agent.ticketFetches++
	return currentTicket(c.agent.corp.tickets, "jsapi", c.now).answer(), nil
}

func (c *call) agentTicket() (any, error) {
	c.agent.ticketFetches++
	return currentTicket(c.agent.tickets, c.param("type"), c.now).answer(), nil
}

// loginCode returns the user whom a code names, which is good for one use in the
// whole corporation.
func (c *call) loginCode(param string) (string, error) {
	code := c.param(param)
	if !isCode(code) || !useCode(c.agent.corp.loginCodes, code) {
		return "", c.refuse(invalidCode)
	}
	return userOfCode(code), nil
}

func (c *call) authUserInfo() (any, error) {
	user, err := c.loginCode("code")
	if err != nil {
		return nil, err
	}
	if findMember(user) == nil {
		return ok(object{"openid": c.agent.corp.openID(user)}), nil
	}
	return ok(object{"userid": user, "user_ticket": randomText(64), "expires_in": 1800}), nil
}

func (c *call) oldUserInfo() (any, error) {
	user, err := c.loginCode("code")
	if err != nil {
		return nil, err
	}
	if findMember(user) == nil {
		return ok(object{"OpenId": c.agent.corp.openID(user), "DeviceId": ""}), nil
	}
	return ok(object{"UserId": user, "DeviceId": "", "user_ticket": randomText(64), "expires_in": 1800}), nil
}

func (c *call) weComSession() (any, error) {
	user, err := c.loginCode("js_code")
	if err != nil {
		return nil, err
	}
	if findMember(user) == nil {
		return nil, c.refuse(weComNoUser)
	}
	return ok(object{"corpid": c.agent.corp.id, "userid": user, "session_key": randomText(24)}), nil
}
