package sandbox

import (
	"slices"
	"strings"
)

// template is a template of messages that an account has chosen.
type template struct {
	id, title, content, example string
}

const maxTemplates = 25

func templateRoutes() []route {
	return []route{
		get("/cgi-bin/template/get_all_private_template", "the chosen templates", (*call).templateList, ""),
		post("/cgi-bin/template/api_add_template", "chooses a template of the library", (*call).templateAdd,
			`{"template_id_short":"TM00015","keyword_name_list":["订单号"]}`, need("template_id_short", invalidTemplateID)),
		post("/cgi-bin/template/del_private_template", "gives a template up", (*call).templateDelete,
			`{"template_id":"{template}"}`, need("template_id", invalidTemplateID)),
		get("/cgi-bin/template/get_industry", "the account's industries", (*call).industry, ""),
		post("/cgi-bin/template/api_set_industry", "sets the account's industries", (*call).accept,
			`{"industry_id1":"1","industry_id2":"4"}`, check("industry_id1", invalidIndustry, between(1, 41)),
			check("industry_id2", invalidIndustry, between(1, 41))),
	}
}

func (c *call) templateList() (any, error) {
	list := []object{}
	for _, t := range c.account.templates {
		list = append(list, object{
			"template_id": t.id, "title": t.title, "primary_industry": "IT科技", "deputy_industry": "互联网|电子商务",
			"content": t.content, "example": t.example,
		})
	}
	return object{"template_list": list}, nil
}

func (c *call) templateAdd() (any, error) {
	if len(c.account.templates) >= maxTemplates {
		return nil, refuse(tooManyTemplates)
	}
	t := &template{
		id:      randomText(43),
		title:   "订单通知 " + c.text("template_id_short"),
		content: "{{first.DATA}}\n订单号：{{keyword1.DATA}}\n{{remark.DATA}}",
		example: "您好\n订单号：1\n谢谢",
	}
	c.account.templates = append(c.account.templates, t)
	return ok(object{"template_id": t.id}), nil
}

func (c *call) templateDelete() (any, error) {
	id := c.text("template_id")
	i := slices.IndexFunc(c.account.templates, func(t *template) bool { return t.id == id })
	if i < 0 {
		return nil, refuse(invalidTemplateID)
	}
	c.account.templates = slices.Delete(c.account.templates, i, i+1)
	return okStatus, nil
}

func (c *call) industry() (any, error) {
	return object{
		"primary_industry":   object{"first_class": "IT科技", "second_class": "互联网|电子商务"},
		"secondary_industry": object{"first_class": "IT科技", "second_class": "IT软件与服务"},
	}, nil
}

// Templates of subscription messages.

const libraryTemplate = 401 // the one that the library has

var libraryKeywords = []object{
	{"kid": 1, "name": "物品名称", "example": "名称", "rule": "thing"},
	{"kid": 2, "name": "订单号", "example": "1234567890", "rule": "character_string"},
}

func subscriptionRoutes() []route {
	ids := check("ids", invalidCategoryIDs, func(value any) bool {
		s, _ := value.(string)
		return s != "" && !slices.ContainsFunc(strings.Split(s, ","), func(id string) bool { return !isWhole(id) })
	})
	isTID := func(value any) bool { n, ok := whole(value); return ok && n == libraryTemplate }
	return []route{
		post("/wxaapi/newtmpl/addtemplate", "chooses a subscription template", (*call).subscriptionAdd,
			`{"tid":"401","kidList":[1,2],"sceneDesc":"an order"}`, check("tid", invalidTID, isTID),
			check("kidList", invalidKeywordIDs, isList), check("sceneDesc", invalidSceneText, optional(isText))),
		get("/wxaapi/newtmpl/gettemplate", "the chosen subscription templates", (*call).subscriptionList, ""),
		post("/wxaapi/newtmpl/deltemplate", "gives a subscription template up", (*call).subscriptionDelete,
			`{"priTmplId":"{subscription}"}`, need("priTmplId", invalidTemplateID)),
		get("/wxaapi/newtmpl/getcategory", "the account's categories", (*call).categories, ""),
		get("/wxaapi/newtmpl/getpubtemplatekeywords", "a library template's keywords", (*call).libraryKeywords, "tid=401",
			check("tid", invalidTID, isTID)),
		get("/wxaapi/newtmpl/getpubtemplatetitles", "the library's templates", (*call).libraryTitles, "ids=616&start=0&limit=30",
			ids, check("start", invalidStart, between(0, 1<<30)), check("limit", invalidLimit, between(1, 30))),
	}
}

func (c *call) subscriptionAdd() (any, error) {
	if len(c.account.subscribed) >= maxTemplates {
		return nil, refuse(tooManySubscriptions)
	}
	for _, kid := range member(c.fields, "kidList").([]any) {
		if !between(1, len(libraryKeywords))(kid) {
			return nil, refuse(invalidKeywordIDs)
		}
	}
	t := &template{
		id: randomText(43), title: "下单成功通知",
		content: "物品名称:{{thing1.DATA}}\n订单号:{{character_string2.DATA}}\n",
		example: "物品名称:名称\n订单号:1234567890\n",
	}
	c.account.subscribed = append(c.account.subscribed, t)
	return ok(object{"priTmplId": t.id}), nil
}

func (c *call) subscriptionList() (any, error) {
	list := []object{}
	for _, t := range c.account.subscribed {
		list = append(list, object{"priTmplId": t.id, "title": t.title, "content": t.content, "example": t.example, "type": 2})
	}
	return ok(object{"data": list}), nil
}

func (c *call) subscriptionDelete() (any, error) {
	id := c.text("priTmplId")
	i := slices.IndexFunc(c.account.subscribed, func(t *template) bool { return t.id == id })
	if i < 0 {
		return nil, refuse(invalidTemplateID)
	}
	c.account.subscribed = slices.Delete(c.account.subscribed, i, i+1)
	return okStatus, nil
}

func (c *call) categories() (any, error) {
	return ok(object{"data": []object{{"id": 616, "name": "服装/鞋/箱包"}}}), nil
}

func (c *call) libraryKeywords() (any, error) {
	return ok(object{"count": len(libraryKeywords), "data": libraryKeywords}), nil
}

func (c *call) libraryTitles() (any, error) {
	list := []object{{"tid": libraryTemplate, "title": "下单成功通知", "type": 2, "categoryId": "616"}}
	if start, _ := whole(c.param("start")); start > 0 {
		list = list[:0]
	}
	return ok(object{"count": 1, "data": list}), nil
}
