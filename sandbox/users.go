package sandbox

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
)

// followers is how many users follow an account from the beginning.
const followers = 5

// openID returns a user's openid at an account: it is always the same.
func (a *account) openID(user string) string {
	sum := sha256.Sum256([]byte(a.AppID + "\x00" + user))
	return "o" + base64.RawURLEncoding.EncodeToString(sum[:])[:27]
}

func (a *account) followers() []string {
	openIDs := make([]string, followers)
	for i := range openIDs {
		openIDs[i] = a.openID(fmt.Sprintf("follower %d", i+1))
	}
	return openIDs
}

var openIDForm = regexp.MustCompile(`^o[A-Za-z0-9_-]{27}$`)

func isOpenID(s string) bool { return openIDForm.MatchString(s) }

func userRoutes() []route {
	openID := openIDParam("openid")
	return []route{
		get("/cgi-bin/user/get", "the followers", (*call).userGet, "next_openid=", opt("next_openid")...),
		get("/cgi-bin/user/info", "a user", (*call).userInfo, "openid={openid}&lang=zh_CN", openID, param{name: "lang"}),
		post("/cgi-bin/user/info/batchget", "up to 100 users", (*call).userInfoBatch,
			`{"user_list":[{"openid":"{openid}","lang":"zh_CN"}]}`, check("user_list", invalidOpenIDList, isList)),
		post("/cgi-bin/user/info/updateremark", "gives a follower a remark", (*call).updateRemark,
			`{"openid":"{openid}","remark":"regular"}`, openID, param{name: "remark"}),
	}
}

// userList is an answer that lists users, and where to go on.
type userList struct {
	Total      int       `json:"total,omitempty"`
	Count      int       `json:"count"`
	Data       *userPage `json:"data,omitempty"`
	NextOpenID string    `json:"next_openid"`
}

type userPage struct {
	OpenID []string `json:"openid"`
}

func newUserList(openIDs []string) *userList {
	list := &userList{Count: len(openIDs)}
	if list.Count > 0 {
		list.Data = &userPage{openIDs}
		list.NextOpenID = openIDs[list.Count-1]
	}
	return list
}

// after returns the users behind one, all of them behind "".
func after(openIDs []string, openID string) ([]string, error) {
	if openID == "" {
		return openIDs, nil
	}
	i := slices.Index(openIDs, openID)
	if i < 0 {
		return nil, refuse(invalidOpenID)
	}
	return openIDs[i+1:], nil
}

func (c *call) userGet() (any, error) {
	openIDs, err := after(c.account.followers(), c.param("next_openid"))
	if err != nil {
		return nil, err
	}
	list := newUserList(openIDs)
	list.Total = followers
	return list, nil
}

func (c *call) userInfo() (any, error) {
	return c.account.user(c.param("openid")), nil
}

// user is what WeChat tells of a user.
func (a *account) user(openID string) object {
	i := slices.Index(a.followers(), openID)
	if i < 0 {
		return object{"subscribe": 0, "openid": openID}
	}
	return object{
		"subscribe":       1,
		"openid":          openID,
		"language":        "zh_CN",
		"subscribe_time":  1_600_000_000 + i,
		"remark":          a.remarks[openID],
		"groupid":         0,
		"tagid_list":      a.tags.of(openID),
		"subscribe_scene": "ADD_SCENE_QR_CODE",
		"qr_scene":        0,
		"qr_scene_str":    "",
	}
}

const maxUsersAtOnce = 100

func (c *call) userInfoBatch() (any, error) {
	var body struct {
		UserList []struct {
			OpenID string `json:"openid"`
		} `json:"user_list"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if len(body.UserList) > maxUsersAtOnce {
		return nil, refuse(invalidOpenIDList)
	}
	list := make([]object, len(body.UserList))
	for i, u := range body.UserList {
		if !isOpenID(u.OpenID) {
			return nil, refuse(invalidOpenID)
		}
		list[i] = c.account.user(u.OpenID)
	}
	return object{"user_info_list": list}, nil
}

const maxRemark = 30

func (c *call) updateRemark() (any, error) {
	openID, remark := c.text("openid"), c.text("remark")
	if len([]rune(remark)) > maxRemark {
		return nil, refuse(contentTooLarge)
	}
	if !slices.Contains(c.account.followers(), openID) {
		return nil, refuse(foreignOpenID)
	}
	c.account.remarks[openID] = remark
	return okStatus, nil
}
