package sandbox

import "slices"

var customMessageTypes = []string{
	"text", "image", "voice", "video", "music", "news", "mpnews", "mpnewsarticle", "msgmenu", "wxcard",
	"miniprogrampage", "link",
}

func messageRoutes() []route {
	toUser := openIDParam("touser")
	templateID := check("template_id", invalidTemplateID, isText)
	data := check("data", invalidArgument, optional(isObject))
	return []route{
		post("/cgi-bin/message/custom/send", "sends a customer service message", (*call).customSend,
			`{"touser":"{openid}","msgtype":"text","text":{"content":"hello"}}`,
			toUser, check("msgtype", invalidMessageType, oneOf(customMessageTypes...)), param{name: "text.content"},
			param{name: "image.media_id"}, param{name: "voice.media_id"}, param{name: "video.media_id"}).message(),
		post("/cgi-bin/message/custom/typing", "shows that somebody is typing", (*call).accept,
			`{"touser":"{openid}","command":"Typing"}`, toUser, check("command", invalidArgs, oneOf("Typing", "CancelTyping"))),
		post("/cgi-bin/message/template/send", "sends a template message", (*call).templateSend,
			`{"touser":"{openid}","template_id":"{template}","url":"https://example.com","data":{"first":{"value":"hello"}}}`,
			toUser, templateID, param{name: "data"}).message(),
		post("/cgi-bin/message/subscribe/send", "sends a subscription message of a mini program", (*call).templateSend,
			`{"touser":"{openid}","template_id":"{template}","page":"pages/index","data":{"thing1":{"value":"hello"}}}`,
			toUser, templateID, check("page", invalidPagePath, optional(isText)), data).message(),
		post("/cgi-bin/message/subscribe/bizsend", "sends a subscription message of an official account", (*call).templateSend,
			`{"touser":"{openid}","template_id":"{template}","data":{"thing1":{"value":"hello"}}}`, toUser, templateID, data).message(),
		get("/cgi-bin/customservice/getkflist", "the customer service accounts", (*call).serviceAccounts, ""),
		get("/cgi-bin/customservice/getonlinekflist", "those that are online", (*call).onlineServiceAccounts, ""),
	}
}

// accept answers what has no answer but that it is done.
func (c *call) accept() (any, error) { return okStatus, nil }

func (c *call) customSend() (any, error) {
	kind := c.text("msgtype")
	if err := c.checkContent(kind, c.text("text.content"), c.text(kind+".media_id")); err != nil {
		return nil, err
	}
	c.account.messages++
	return okStatus, nil
}

// checkContent checks what a message of a kind is made of.
func (c *call) checkContent(kind, text, mediaID string) error {
	switch kind {
	case "text":
		if text == "" {
			return refuse(emptyContent)
		}
	case "image", "voice", "video":
		if c.account.media.find(mediaID, c.now) == nil && c.account.material.find(mediaID, c.now) == nil {
			return refuse(invalidMediaID)
		}
	}
	return nil
}

// firstMessageID precedes the msgid of an account's first message.
const firstMessageID = 200_228_331

// templateSend serves template and subscription messages.
func (c *call) templateSend() (any, error) {
	c.account.messages++
	return ok(object{"msgid": firstMessageID + c.account.messages}), nil
}

func (c *call) serviceAccounts() (any, error) {
	return object{"kf_list": []object{{
		"kf_account": "service@" + c.account.AppID, "kf_nick": "客服", "kf_id": "1001", "kf_headimgurl": "",
	}}}, nil
}

func (c *call) onlineServiceAccounts() (any, error) {
	return object{"kf_online_list": []object{{
		"kf_account": "service@" + c.account.AppID, "status": 1, "kf_id": "1001", "accepted_case": 0,
	}}}, nil
}

// Messages to many users.

var massMessageTypes = []string{"mpnews", "text", "voice", "image", "mpvideo", "wxcard"}

// massImages is the member that holds more than one picture.
const massImages = "images"

func massRoutes() []route {
	kind := check("msgtype", invalidMessageType, oneOf(massMessageTypes...))
	msgID := check("msg_id", invalidArgs, isWhole)
	return []route{
		post("/cgi-bin/message/mass/sendall", "sends to all followers or to those with a tag", (*call).massSendAll,
			`{"filter":{"is_to_all":true},"text":{"content":"hello"},"msgtype":"text"}`,
			check("filter", invalidArgs, isObject), kind, param{name: "filter.is_to_all"}, param{name: "filter.tag_id"}).message(),
		post("/cgi-bin/message/mass/send", "sends to two followers or more", (*call).massSend,
			`{"touser":["{openid}","{openid}"],"text":{"content":"hello"},"msgtype":"text"}`,
			check("touser", tooFewOpenIDs, isList), kind).message(),
		post("/cgi-bin/message/mass/preview", "sends to one user to look at", (*call).massPreview,
			`{"touser":"{openid}","text":{"content":"hello"},"msgtype":"text"}`,
			check("touser", invalidOpenID, optional(isAnyOpenID)), param{name: "towxname"}, kind).message(),
		post("/cgi-bin/message/mass/get", "how far a message has got", (*call).massGet, `{"msg_id":{mass}}`, msgID),
		post("/cgi-bin/message/mass/delete", "takes a message back", (*call).accept, `{"msg_id":{mass}}`, msgID),
	}
}

// checkMass checks what a message to many is made of.
func (c *call) checkMass() error {
	kind := c.text("msgtype")
	mediaID := c.text(kind + ".media_id")
	switch kind {
	case "mpnews":
		if c.account.draft(mediaID) == nil {
			return refuse(invalidMediaID)
		}
	case "image":
		if list := c.texts(massImages + ".media_ids"); len(list) > 0 {
			mediaID = list[0]
		}
	}
	return c.checkContent(kind, c.text("text.content"), mediaID)
}

func (c *call) massAnswer() object {
	c.account.messages++
	id := 1_000_000_000 + c.account.messages
	return object{"errcode": success, "errmsg": "send job submission success", "msg_id": id, "msg_data_id": id + 1_000_000_000}
}

func (c *call) massSendAll() (any, error) {
	toAll, _ := member(c.fields, "filter.is_to_all").(bool)
	if !toAll && c.account.tags.find(c.number("filter.tag_id")) == nil {
		return nil, refuse(invalidTag)
	}
	if err := c.checkMass(); err != nil {
		return nil, err
	}
	return c.massAnswer(), nil
}

const maxMassUsers = 10_000

func (c *call) massSend() (any, error) {
	openIDs := c.texts("touser")
	if len(openIDs) < 2 || len(openIDs) > maxMassUsers {
		return nil, refuse(tooFewOpenIDs)
	}
	if slices.ContainsFunc(openIDs, func(s string) bool { return !isOpenID(s) }) {
		return nil, refuse(invalidOpenID)
	}
	if err := c.checkMass(); err != nil {
		return nil, err
	}
	return c.massAnswer(), nil
}

func (c *call) massPreview() (any, error) {
	if c.text("touser") == "" && c.text("towxname") == "" {
		return nil, refuse(invalidOpenID)
	}
	if err := c.checkMass(); err != nil {
		return nil, err
	}
	answer := c.massAnswer()
	answer["errmsg"] = "preview success"
	delete(answer, "msg_data_id")
	return answer, nil
}

func (c *call) massGet() (any, error) {
	return object{"msg_id": c.number("msg_id"), "msg_status": "SEND_SUCCESS"}, nil
}
