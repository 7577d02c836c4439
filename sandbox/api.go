package sandbox

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
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

func (c *call) userGet() (any, error) {
	type list struct {
		OpenID []string `json:"openid"`
	}
	answer := struct {
		Total      int    `json:"total"`
		Count      int    `json:"count"`
		Data       *list  `json:"data,omitempty"`
		NextOpenID string `json:"next_openid"`
	}{Total: followers}

	openIDs := c.account.followers()
	if next := c.param("next_openid"); next != "" {
		i := slices.Index(openIDs, next)
		if i < 0 {
			return nil, refuse(invalidOpenID)
		}
		openIDs = openIDs[i+1:]
	}
	if answer.Count = len(openIDs); answer.Count > 0 {
		answer.Data = &list{OpenID: openIDs}
		answer.NextOpenID = openIDs[answer.Count-1]
	}
	return answer, nil
}

func (c *call) userInfo() (any, error) {
	openID := c.param("openid")
	if !isOpenID(openID) {
		return nil, refuse(invalidOpenID)
	}
	i := slices.Index(c.account.followers(), openID)
	if i < 0 {
		return struct {
			Subscribe int    `json:"subscribe"`
			OpenID    string `json:"openid"`
		}{0, openID}, nil
	}
	return struct {
		Subscribe      int    `json:"subscribe"`
		OpenID         string `json:"openid"`
		Language       string `json:"language"`
		SubscribeTime  int    `json:"subscribe_time"`
		Remark         string `json:"remark"`
		GroupID        int    `json:"groupid"`
		TagIDs         []int  `json:"tagid_list"`
		SubscribeScene string `json:"subscribe_scene"`
		QRScene        int    `json:"qr_scene"`
		QRSceneStr     string `json:"qr_scene_str"`
	}{
		Subscribe: 1, OpenID: openID, Language: "zh_CN", SubscribeTime: 1_600_000_000 + i,
		TagIDs: []int{}, SubscribeScene: "ADD_SCENE_QR_CODE",
	}, nil
}

var messageTypes = []string{
	"text", "image", "voice", "video", "music", "news", "mpnews", "mpnewsarticle", "msgmenu", "wxcard",
	"miniprogrampage", "link",
}

func (c *call) customSend() (any, error) {
	type media struct {
		ID string `json:"media_id"`
	}
	var message struct {
		ToUser  string `json:"touser"`
		MsgType string `json:"msgtype"`
		Text    struct {
			Content string `json:"content"`
		} `json:"text"`
		Image media `json:"image"`
		Voice media `json:"voice"`
		Video media `json:"video"`
	}
	if err := c.decode(&message); err != nil {
		return nil, err
	}
	mediaID, needsMedia := map[string]string{
		"image": message.Image.ID, "voice": message.Voice.ID, "video": message.Video.ID,
	}[message.MsgType]
	switch {
	case !isOpenID(message.ToUser):
		return nil, refuse(invalidOpenID)
	case !slices.Contains(messageTypes, message.MsgType):
		return nil, refuse(invalidMessageType)
	case message.MsgType == "text" && message.Text.Content == "":
		return nil, refuse(emptyContent)
	case needsMedia && c.account.media.find(mediaID, c.now) == nil:
		return nil, refuse(invalidMediaID)
	}
	c.account.messages++
	return success, nil
}

// firstMessageID precedes the msgid of an account's first message.
const firstMessageID = 200_228_331

// templateSend serves template and subscription messages.
func (c *call) templateSend() (any, error) {
	var message struct {
		ToUser     string `json:"touser"`
		TemplateID string `json:"template_id"`
	}
	if err := c.decode(&message); err != nil {
		return nil, err
	}
	switch {
	case !isOpenID(message.ToUser):
		return nil, refuse(invalidOpenID)
	case message.TemplateID == "":
		return nil, refuse(invalidTemplateID)
	}
	c.account.messages++
	return struct {
		status
		MessageID int `json:"msgid"`
	}{success, firstMessageID + c.account.messages}, nil
}

type ticket struct {
	value   string
	expires time.Time
}

// getTicket returns the same ticket for as long as it lives.
func (c *call) getTicket() (any, error) {
	kind := c.param("type")
	if kind != "jsapi" && kind != "wx_card" {
		return nil, refuse(invalidArgs)
	}
	t := c.account.tickets[kind]
	if t == nil || t.expires.Sub(c.now) < time.Second {
		t = &ticket{value: randomText(64), expires: c.now.Add(c.account.stable.expiresIn)}
		c.account.tickets[kind] = t
	}
	return struct {
		status
		Ticket    string `json:"ticket"`
		ExpiresIn int    `json:"expires_in"`
	}{success, t.value, int(t.expires.Sub(c.now) / time.Second)}, nil
}

const maxButtons = 3

type menu struct {
	Button []json.RawMessage `json:"button"`
}

func (c *call) menuCreate() (any, error) {
	var created menu
	if err := c.decode(&created); err != nil {
		return nil, err
	}
	if n := len(created.Button); n == 0 || n > maxButtons {
		return nil, refuse(invalidButtonCount)
	}
	for _, raw := range created.Button {
		var button struct {
			Name string `json:"name"`
		}
		if json.Unmarshal(raw, &button) != nil || button.Name == "" {
			return nil, refuse(invalidButtonName)
		}
	}
	c.account.menu = &created
	return success, nil
}

func (c *call) menuGet() (any, error) {
	if c.account.menu == nil {
		return nil, refuse(menuMissing)
	}
	return struct {
		Menu *menu `json:"menu"`
	}{c.account.menu}, nil
}

func (c *call) menuDelete() (any, error) {
	c.account.menu = nil
	return success, nil
}

// Seconds that a temporary QR code lives.
const (
	defaultQRCodeSeconds = 60
	maxQRCodeSeconds     = 30 * 24 * 60 * 60
)

func (c *call) qrcodeCreate() (any, error) {
	var order struct {
		ExpireSeconds int    `json:"expire_seconds"`
		ActionName    string `json:"action_name"`
		ActionInfo    struct {
			Scene struct {
				ID  int    `json:"scene_id"`
				Str string `json:"scene_str"`
			} `json:"scene"`
		} `json:"action_info"`
	}
	if err := c.decode(&order); err != nil {
		return nil, err
	}
	scene, seconds := order.ActionInfo.Scene, 0
	switch order.ActionName {
	case "QR_SCENE", "QR_STR_SCENE":
		if seconds = order.ExpireSeconds; seconds <= 0 {
			seconds = defaultQRCodeSeconds
		}
		seconds = min(seconds, maxQRCodeSeconds)
	case "QR_LIMIT_SCENE", "QR_LIMIT_STR_SCENE":
	default:
		return nil, refuse(invalidActionInfo)
	}
	isText := strings.HasSuffix(order.ActionName, "STR_SCENE")
	if isText && scene.Str == "" || !isText && scene.ID <= 0 {
		return nil, refuse(invalidActionInfo)
	}
	return struct {
		Ticket        string `json:"ticket"`
		ExpireSeconds int    `json:"expire_seconds,omitempty"`
		URL           string `json:"url"`
	}{"gQ" + randomText(69), seconds, "http://weixin.qq.com/q/" + randomText(15)}, nil
}

// addresses answers with an address that is reserved for documentation.
func (c *call) addresses() (any, error) {
	return struct {
		IPs []string `json:"ip_list"`
	}{[]string{"203.0.113.1"}}, nil
}

func (c *call) phoneNumber() (any, error) {
	var body struct {
		Code string `json:"code"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if !isCode(body.Code) {
		return nil, refuse(wechat.InvalidCode)
	}
	if !useCode(c.account.phoneCodes, body.Code) {
		return nil, refuse(codeUsed)
	}
	type watermark struct {
		Timestamp int64  `json:"timestamp"`
		AppID     string `json:"appid"`
	}
	type phone struct {
		Number      string    `json:"phoneNumber"`
		PureNumber  string    `json:"purePhoneNumber"`
		CountryCode string    `json:"countryCode"`
		Watermark   watermark `json:"watermark"`
	}
	number := phoneNumberOf(body.Code)
	return struct {
		status
		Phone phone `json:"phone_info"`
	}{success, phone{number, number, "86", watermark{c.now.Unix(), c.account.AppID}}}, nil
}

// phoneNumberOf returns the number of the user whom a code names.
func phoneNumberOf(code string) string {
	sum := sha256.Sum256([]byte(userOfCode(code)))
	n := int(sum[0])<<16 | int(sum[1])<<8 | int(sum[2])
	return fmt.Sprintf("138%08d", n%100_000_000)
}

// riskyText is what WeChat's documentation says to test the check with.
const riskyText = "特3456书yuuo莞6543李zxcz蒜7782法fgnv级"

func (c *call) msgSecCheck() (any, error) {
	var body struct {
		Content string `json:"content"`
		Version int    `json:"version"`
		OpenID  string `json:"openid"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	risky := strings.Contains(body.Content, riskyText)
	switch {
	case body.Content == "":
		return nil, refuse(invalidArgs)
	case body.Version != 2 && risky:
		return nil, refuse(riskyContent)
	case body.Version != 2:
		return success, nil
	case !isOpenID(body.OpenID):
		return nil, refuse(invalidOpenID)
	}
	type result struct {
		Suggest string `json:"suggest"`
		Label   int    `json:"label"`
	}
	verdict := result{"pass", 100}
	if risky {
		verdict = result{"risky", 20001}
	}
	return struct {
		status
		Result  result `json:"result"`
		TraceID string `json:"trace_id"`
	}{success, verdict, newRID()}, nil
}
