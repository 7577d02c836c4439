package sandbox

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// What an app of WeCom sends and keeps.

var weComMessageTypes = []string{
	"text", "image", "voice", "video", "file", "textcard", "news", "mpnews", "markdown", "miniprogram_notice", "template_card",
}

// weComMediaLimits are the sizes that WeCom allows by type.
var weComMediaLimits = map[string]int{"image": 10 << 20, "voice": 2 << 20, "video": 10 << 20, "file": 20 << 20}

func appRoutes() []route {
	isMedia := func(value any) bool { s, _ := value.(string); return weComMediaLimits[s] > 0 }
	agentID := check("agentid", weComAgentIDMissing, isWhole)
	return all(agentToken,
		post("/cgi-bin/message/send", "sends a message of the app's", (*call).weComSend,
			`{"touser":"zhangsan","msgtype":"text","agentid":{agentid},"text":{"content":"hello"}}`,
			agentID, check("msgtype", invalidMessageType, oneOf(weComMessageTypes...)),
			param{name: "touser"}, param{name: "toparty"}, param{name: "totag"}, param{name: "text.content"}).message(),
		post("/cgi-bin/message/recall", "takes a message back", (*call).accept, `{"msgid":"1"}`, need("msgid", invalidArgs)),
		upload("/cgi-bin/media/upload", "keeps a file for three days", (*call).weComUpload, "type=file",
			check("type", invalidMediaType, isMedia)),
		upload("/cgi-bin/media/uploadimg", "keeps a picture for good", (*call).weComPicture, ""),
		get("/cgi-bin/media/get", "a file that was uploaded, or with Range a part of it", (*call).weComMedia, "media_id={wecom_media}",
			need("media_id", mediaIDMissing)).inParts(),
		get("/cgi-bin/agent/get", "the app", (*call).weComAgent, "agentid={agentid}", agentID),
		get("/cgi-bin/agent/list", "the apps that the token is good for", (*call).weComAgents, ""),
		post("/cgi-bin/menu/create", "makes the app's menu", (*call).weComMenuCreate,
			`{"button":[{"type":"click","name":"Today","key":"TODAY"}]}`, check("button", invalidButtonCount, isList)),
		get("/cgi-bin/menu/get", "the app's menu", (*call).weComMenu, "agentid={agentid}", agentID),
		get("/cgi-bin/menu/delete", "deletes the app's menu", (*call).weComMenuDelete, "agentid={agentid}", agentID),
	)
}

// checkAgent refuses an agentid that is another app's.
func (c *call) checkAgent(id string) error {
	if id == c.agent.id {
		return nil
	}
	if c.agent.corp.agent(id) == nil {
		return c.refuse(weComInvalidAgentID)
	}
	return c.refuse(weComForeignAgent)
}

func (c *call) weComSend() (any, error) {
	if err := c.checkAgent(strconv.Itoa(c.number("agentid"))); err != nil {
		return nil, err
	}
	users, others := c.text("touser"), c.text("toparty")+c.text("totag")
	if users == "" && others == "" {
		return nil, c.refuse(weComNobody)
	}
	if err := c.checkWeComContent(); err != nil {
		return nil, err
	}
	var invalid []string
	if users != "" && users != "@all" {
		for user := range strings.SplitSeq(users, "|") {
			if findMember(user) == nil {
				invalid = append(invalid, user)
			}
		}
	}
	if others == "" && users != "" && len(invalid) == len(strings.Split(users, "|")) {
		return nil, c.refuse(weComAllInvalid)
	}
	c.agent.messages++
	return ok(object{"invaliduser": strings.Join(invalid, "|"), "msgid": randomText(64), "response_code": ""}), nil
}

// checkWeComContent checks what a message is made of.
func (c *call) checkWeComContent() error {
	kind := c.text("msgtype")
	switch kind {
	case "text", "markdown":
		if c.text(kind+".content") == "" {
			return c.refuse(emptyContent)
		}
	case "image", "voice", "video", "file":
		if c.agent.corp.media.find(c.text(kind+".media_id"), c.now) == nil {
			return c.refuse(invalidMediaID)
		}
	default:
		if !isObject(c.fields[kind]) {
			return c.refuse(emptyContent)
		}
	}
	return nil
}

func (c *call) weComUpload() (any, error) {
	kind := c.param("type")
	file, err := c.checkUpload(kind, weComMediaLimits[kind])
	if err != nil {
		return nil, err
	}
	c.agent.corp.media.add(file)
	return object{
		"errcode": success, "errmsg": "", "type": kind, "media_id": file.id, "created_at": strconv.FormatInt(c.now.Unix(), 10),
	}, nil
}

func (c *call) weComPicture() (any, error) {
	file, err := c.checkUpload("image", 2*maxPicture)
	if err != nil {
		return nil, err
	}
	return ok(object{"url": "https://wework.qpic.cn/wwpic/" + file.id + "/0"}), nil
}

func (c *call) weComMedia() (any, error) {
	file := c.agent.corp.media.find(c.param("media_id"), c.now)
	if file == nil {
		return nil, c.refuse(invalidMediaID)
	}
	return file.blob(), nil
}

func (a *agent) object() object {
	return object{"agentid": json.Number(a.id), "name": "应用 " + a.id, "square_logo_url": ""}
}

func (c *call) weComAgent() (any, error) {
	if err := c.checkAgent(c.param("agentid")); err != nil {
		return nil, err
	}
	answer := c.agent.object()
	answer["description"], answer["close"], answer["redirect_domain"] = "", 0, ""
	return ok(answer), nil
}

func (c *call) weComAgents() (any, error) {
	return ok(object{"agentlist": []object{c.agent.object()}}), nil
}

func (c *call) weComMenuCreate() (any, error) {
	id, _ := queryParam(c.r.URL.RawQuery, "agentid")
	if id == "" {
		return nil, c.refuse(weComAgentIDMissing)
	}
	if err := c.checkAgent(id); err != nil {
		return nil, err
	}
	var created menu
	if err := c.decode(&created); err != nil {
		return nil, err
	}
	if len(created.Button) > maxButtons || slices.ContainsFunc(created.Button, isUnnamed) {
		return nil, c.refuse(invalidButtonCount)
	}
	c.agent.menu = &created
	return okStatus, nil
}

func isUnnamed(button json.RawMessage) bool {
	var b struct {
		Name string `json:"name"`
	}
	return json.Unmarshal(button, &b) != nil || b.Name == ""
}

func (c *call) weComMenu() (any, error) {
	if err := c.checkAgent(c.param("agentid")); err != nil {
		return nil, err
	}
	if c.agent.menu == nil {
		return nil, c.refuse(menuMissing)
	}
	return ok(object{"button": c.agent.menu.Button}), nil
}

func (c *call) weComMenuDelete() (any, error) {
	if err := c.checkAgent(c.param("agentid")); err != nil {
		return nil, err
	}
	c.agent.menu = nil
	return okStatus, nil
}
