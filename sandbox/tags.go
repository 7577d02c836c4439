package sandbox

import "slices"

// tag is a tag of an account's followers.
type tag struct {
	id      int
	name    string
	openIDs []string
}

// tagStore holds an account's tags in the order in which they were made.
type tagStore struct {
	tags []*tag
	last int // the id of the newest
}

// What WeChat allows.
const (
	maxTags        = 100
	maxTagName     = 30 // bytes
	maxTagUsers    = 50 // in one call
	firstTagID     = 100
	starTagID      = 2
	maxTagsOfAUser = 20
)

func newTagStore() *tagStore {
	return &tagStore{tags: []*tag{{id: starTagID, name: "星标组"}}, last: firstTagID - 1}
}

func (s *tagStore) find(id int) *tag {
	for _, t := range s.tags {
		if t.id == id {
			return t
		}
	}
	return nil
}

// of returns the tags that a user has.
func (s *tagStore) of(openID string) []int {
	ids := []int{}
	for _, t := range s.tags {
		if slices.Contains(t.openIDs, openID) {
			ids = append(ids, t.id)
		}
	}
	return ids
}

func tagRoutes() []route {
	id := func(name string) param { return check(name, invalidTag, isWhole) }
	name := need("tag.name", invalidTagName)
	users := check("openid_list", invalidOpenIDList, isList)
	return []route{
		post("/cgi-bin/tags/create", "makes a tag", (*call).tagCreate, `{"tag":{"name":"vip"}}`, name),
		get("/cgi-bin/tags/get", "the tags", (*call).tagList, ""),
		post("/cgi-bin/tags/update", "renames a tag", (*call).tagUpdate, `{"tag":{"id":{tag},"name":"gold"}}`, id("tag.id"), name),
		post("/cgi-bin/tags/delete", "deletes a tag", (*call).tagDelete, `{"tag":{"id":{tag}}}`, id("tag.id")),
		post("/cgi-bin/tags/members/batchtagging", "tags up to 50 followers", (*call).tagUsers,
			`{"openid_list":["{openid}"],"tagid":{tag}}`, id("tagid"), users),
		post("/cgi-bin/tags/members/batchuntagging", "takes a tag from up to 50 followers", (*call).untagUsers,
			`{"openid_list":["{openid}"],"tagid":{tag}}`, id("tagid"), users),
		post("/cgi-bin/tags/getidlist", "a follower's tags", (*call).tagsOfUser, `{"openid":"{openid}"}`,
			openIDParam("openid")),
		post("/cgi-bin/user/tag/get", "the followers with a tag", (*call).tagMembers, `{"tagid":{tag},"next_openid":""}`,
			id("tagid"), param{name: "next_openid"}),
	}
}

// checkTagName refuses a name that another tag has.
func (s *tagStore) checkTagName(name string, of *tag) error {
	if len(name) > maxTagName {
		return refuse(tagNameTooLong)
	}
	for _, t := range s.tags {
		if t.name == name && t != of {
			return refuse(invalidTagName)
		}
	}
	return nil
}

func (c *call) tagCreate() (any, error) {
	s, name := c.account.tags, c.text("tag.name")
	if err := s.checkTagName(name, nil); err != nil {
		return nil, err
	}
	if len(s.tags) >= maxTags {
		return nil, refuse(tooManyTags)
	}
	s.last++
	s.tags = append(s.tags, &tag{id: s.last, name: name})
	return object{"tag": object{"id": s.last, "name": name}}, nil
}

func (c *call) tagList() (any, error) {
	list := []object{}
	for _, t := range c.account.tags.tags {
		list = append(list, object{"id": t.id, "name": t.name, "count": len(t.openIDs)})
	}
	return object{"tags": list}, nil
}

// ownTag returns a tag that may be changed.
func (c *call) ownTag() (*tag, error) {
	id := c.number("tag.id")
	if id < firstTagID {
		return nil, refuse(systemTag)
	}
	if t := c.account.tags.find(id); t != nil {
		return t, nil
	}
	return nil, refuse(invalidTag)
}

func (c *call) tagUpdate() (any, error) {
	t, err := c.ownTag()
	if err != nil {
		return nil, err
	}
	name := c.text("tag.name")
	if err := c.account.tags.checkTagName(name, t); err != nil {
		return nil, err
	}
	t.name = name
	return okStatus, nil
}

func (c *call) tagDelete() (any, error) {
	t, err := c.ownTag()
	if err != nil {
		return nil, err
	}
	s := c.account.tags
	s.tags = slices.DeleteFunc(s.tags, func(other *tag) bool { return other == t })
	return okStatus, nil
}

// tagAndUsers returns what batchtagging and batchuntagging are about.
func (c *call) tagAndUsers() (*tag, []string, error) {
	t, openIDs := c.account.tags.find(c.number("tagid")), c.texts("openid_list")
	if t == nil {
		return nil, nil, refuse(invalidTag)
	}
	if len(openIDs) > maxTagUsers {
		return nil, nil, refuse(invalidOpenIDList)
	}
	for _, openID := range openIDs {
		if !isOpenID(openID) {
			return nil, nil, refuse(invalidOpenID)
		}
		if !slices.Contains(c.account.followers(), openID) {
			return nil, nil, refuse(foreignOpenID)
		}
	}
	return t, openIDs, nil
}

func (c *call) tagUsers() (any, error) {
	t, openIDs, err := c.tagAndUsers()
	if err != nil {
		return nil, err
	}
	for _, openID := range openIDs {
		if len(c.account.tags.of(openID)) >= maxTagsOfAUser {
			return nil, refuse(tooManyUserTags)
		}
		if !slices.Contains(t.openIDs, openID) {
			t.openIDs = append(t.openIDs, openID)
		}
	}
	return okStatus, nil
}

func (c *call) untagUsers() (any, error) {
	t, openIDs, err := c.tagAndUsers()
	if err != nil {
		return nil, err
	}
	t.openIDs = slices.DeleteFunc(t.openIDs, func(openID string) bool { return slices.Contains(openIDs, openID) })
	return okStatus, nil
}

func (c *call) tagsOfUser() (any, error) {
	openID := c.text("openid")
	if !slices.Contains(c.account.followers(), openID) {
		return nil, refuse(foreignOpenID)
	}
	return object{"tagid_list": c.account.tags.of(openID)}, nil
}

func (c *call) tagMembers() (any, error) {
	t := c.account.tags.find(c.number("tagid"))
	if t == nil {
		return nil, refuse(invalidTag)
	}
	openIDs, err := after(t.openIDs, c.text("next_openid"))
	if err != nil {
		return nil, err
	}
	return newUserList(openIDs), nil
}
