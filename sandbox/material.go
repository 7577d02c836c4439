package sandbox

import (
	"encoding/json"
	"slices"
	"time"
)

// draft is an article, or several, that is not published yet.
type draft struct {
	id       string
	articles []json.RawMessage
	created  time.Time
	updated  time.Time
}

const (
	maxDrafts   = 1000
	maxArticles = 8
	maxAtOnce   = 20 // of materials or drafts in one answer
	maxTitle    = 64 // characters
)

func materialRoutes() []route {
	id := need("media_id", invalidMediaID)
	isKind := func(value any) bool { s, _ := value.(string); return mediaLimits[s] > 0 }
	isListed := func(value any) bool { return value == "news" || isKind(value) && value != "thumb" }
	return []route{
		upload("/cgi-bin/material/add_material", "keeps a file for good", (*call).materialAdd, "type=image",
			check("type", invalidMediaType, isKind), param{name: "description"}),
		post("/cgi-bin/material/get_material", "a file that is kept", (*call).materialGet, `{"media_id":"{material}"}`, id).inParts(),
		post("/cgi-bin/material/del_material", "deletes a file", (*call).materialDelete, `{"media_id":"{material}"}`, id),
		get("/cgi-bin/material/get_materialcount", "how many files are kept", (*call).materialCount, ""),
		post("/cgi-bin/material/batchget_material", "up to 20 of the kept files", (*call).materialList,
			`{"type":"image","offset":0,"count":20}`, check("type", invalidMediaType, isListed),
			check("offset", invalidArgs, between(0, 1<<30)), check("count", invalidArgs, between(1, maxAtOnce))),
	}
}

func (c *call) materialAdd() (any, error) {
	kind := c.param("type")
	file, err := c.checkUpload(kind, mediaLimits[kind])
	if err != nil {
		return nil, err
	}
	if kind == "video" {
		var about struct {
			Title string `json:"title"`
		}
		if json.Unmarshal([]byte(c.param("description")), &about) != nil || about.Title == "" {
			return nil, refuse(dataFormatError)
		}
		file.name = about.Title
	}
	c.account.material.add(file)
	answer := object{"media_id": file.id}
	if kind == "image" {
		answer["url"] = pictureURL(file.id)
	}
	return answer, nil
}

func (c *call) materialGet() (any, error) {
	id := c.text("media_id")
	if d := c.account.draft(id); d != nil {
		return object{"news_item": d.articles}, nil
	}
	file := c.account.material.find(id, c.now)
	switch {
	case file == nil:
		return nil, refuse(invalidMediaID)
	case file.kind == "video":
		return object{"title": file.name, "description": "", "down_url": "http://mp.weixin.qq.com/mp/mp/video/" + file.id}, nil
	}
	return file.blob(), nil
}

func (c *call) materialDelete() (any, error) {
	file := c.account.material.find(c.text("media_id"), c.now)
	if file == nil {
		return nil, refuse(invalidMediaID)
	}
	c.account.material.remove(file)
	return okStatus, nil
}

func (c *call) materialCount() (any, error) {
	answer := object{"voice_count": 0, "video_count": 0, "image_count": 0, "news_count": len(c.account.drafts)}
	for _, f := range c.account.material.files {
		if n, counted := answer[f.kind+"_count"].(int); counted {
			answer[f.kind+"_count"] = n + 1
		}
	}
	return answer, nil
}

func (c *call) materialList() (any, error) {
	kind := c.text("type")
	if kind == "news" {
		return c.draftPage(true)
	}
	var items []object
	for _, f := range slices.Backward(c.account.material.files) {
		if f.kind == kind {
			items = append(items, object{
				"media_id": f.id, "name": f.name, "update_time": f.added.Unix(), "url": pictureURL(f.id),
			})
		}
	}
	return page(items, c.number("offset"), c.number("count")), nil
}

// page is a part of a list, as WeChat gives it.
func page(items []object, offset, count int) object {
	part := items[min(offset, len(items)):min(offset+count, len(items))]
	if part == nil {
		part = []object{}
	}
	return object{"total_count": len(items), "item_count": len(part), "item": part}
}

func draftRoutes() []route {
	id := need("media_id", invalidMediaID)
	return []route{
		post("/cgi-bin/draft/add", "makes a draft", (*call).draftAdd,
			`{"articles":[{"title":"News","content":"<p>text</p>","thumb_media_id":"{material}"}]}`, check("articles", emptyNews, isList)),
		post("/cgi-bin/draft/get", "a draft", (*call).draftGet, `{"media_id":"{draft}"}`, id),
		post("/cgi-bin/draft/update", "changes an article of a draft", (*call).draftUpdate,
			`{"media_id":"{draft}","index":0,"articles":{"title":"New","content":"<p>text</p>","thumb_media_id":"{material}"}}`,
			id, check("index", invalidIndex, between(0, maxArticles-1)), check("articles", emptyNews, isObject)),
		post("/cgi-bin/draft/delete", "deletes a draft", (*call).draftDelete, `{"media_id":"{draft}"}`, id),
		get("/cgi-bin/draft/count", "how many drafts there are", (*call).draftCount, "").orByPost(),
		post("/cgi-bin/draft/batchget", "up to 20 drafts", (*call).draftList, `{"offset":0,"count":20,"no_content":0}`,
			check("offset", invalidArgs, between(0, 1<<30)), check("count", invalidArgs, between(1, maxAtOnce)), param{name: "no_content"}),
		post("/cgi-bin/freepublish/submit", "publishes a draft", (*call).publish, `{"media_id":"{draft}"}`, id),
		post("/cgi-bin/freepublish/get", "how far that has got", (*call).publication, `{"publish_id":"1"}`,
			check("publish_id", invalidArgs, isWhole)),
	}
}

func (a *account) draft(id string) *draft {
	for _, d := range a.drafts {
		if d.id == id {
			return d
		}
	}
	return nil
}

// checkArticle checks what an article is made of.
func (c *call) checkArticle(raw json.RawMessage) error {
	var article struct {
		Type    string          `json:"article_type"`
		Title   string          `json:"title"`
		Content string          `json:"content"`
		ThumbID string          `json:"thumb_media_id"`
		Images  json.RawMessage `json:"image_info"`
	}
	if json.Unmarshal(raw, &article) != nil {
		return refuse(dataFormatError)
	}
	switch {
	case article.Title == "", len([]rune(article.Title)) > maxTitle:
		return refuse(titleTooLarge)
	case article.Content == "":
		return refuse(emptyContent)
	case article.Type != "newspic" && c.account.material.find(article.ThumbID, c.now) == nil,
		article.Type == "newspic" && article.Images == nil:
		return refuse(invalidMediaID)
	}
	return nil
}

func (c *call) draftAdd() (any, error) {
	var body struct {
		Articles []json.RawMessage `json:"articles"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if len(body.Articles) > maxArticles {
		return nil, refuse(invalidArgs)
	}
	for _, raw := range body.Articles {
		if err := c.checkArticle(raw); err != nil {
			return nil, err
		}
	}
	d := &draft{id: randomText(64), articles: body.Articles, created: c.now, updated: c.now}
	c.account.drafts = append(c.account.drafts, d)
	if len(c.account.drafts) > maxDrafts {
		c.account.drafts = slices.Delete(c.account.drafts, 0, 1)
	}
	return object{"media_id": d.id}, nil
}

// theDraft returns the draft that the body names.
func (c *call) theDraft() (*draft, error) {
	if d := c.account.draft(c.text("media_id")); d != nil {
		return d, nil
	}
	return nil, refuse(invalidMediaID)
}

func (c *call) draftGet() (any, error) {
	d, err := c.theDraft()
	if err != nil {
		return nil, err
	}
	return object{"news_item": d.articles, "create_time": d.created.Unix(), "update_time": d.updated.Unix()}, nil
}

func (c *call) draftUpdate() (any, error) {
	d, err := c.theDraft()
	if err != nil {
		return nil, err
	}
	var body struct {
		Article json.RawMessage `json:"articles"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	i := c.number("index")
	if i >= len(d.articles) {
		return nil, refuse(invalidIndex)
	}
	if err := c.checkArticle(body.Article); err != nil {
		return nil, err
	}
	d.articles[i], d.updated = body.Article, c.now
	return okStatus, nil
}

func (c *call) draftDelete() (any, error) {
	d, err := c.theDraft()
	if err != nil {
		return nil, err
	}
	c.account.drafts = slices.DeleteFunc(c.account.drafts, func(other *draft) bool { return other == d })
	return okStatus, nil
}

func (c *call) draftCount() (any, error) {
	return object{"total_count": len(c.account.drafts)}, nil
}

func (c *call) draftList() (any, error) { return c.draftPage(c.number("no_content") == 0) }

func (c *call) draftPage(withContent bool) (any, error) {
	var items []object
	for _, d := range slices.Backward(c.account.drafts) {
		content := object{}
		if withContent {
			content["news_item"] = d.articles
		}
		items = append(items, object{"media_id": d.id, "content": content, "update_time": d.updated.Unix()})
	}
	return page(items, c.number("offset"), c.number("count")), nil
}

func (c *call) publish() (any, error) {
	if _, err := c.theDraft(); err != nil {
		return nil, err
	}
	c.account.published++
	return ok(object{"publish_id": c.account.published, "msg_data_id": 2_000_000_000 + c.account.published}), nil
}

func (c *call) publication() (any, error) {
	return object{"publish_id": c.number("publish_id"), "publish_status": 0, "article_id": "a-1", "fail_idx": []int{}}, nil
}
