package sandbox

import (
	"crypto/sha256"
	"fmt"
	"strings"
)

func miniProgramRoutes() []route {
	return []route{
		post("/wxa/business/getuserphonenumber", "a user's phone number", (*call).phoneNumber, `{"code":"alice"}`,
			check("code", invalidCode, func(value any) bool { s, _ := value.(string); return isCode(s) })),
		post("/wxa/msg_sec_check", "checks a text", (*call).msgSecCheck,
			`{"version":2,"scene":1,"openid":"{openid}","content":"hello"}`,
			check("content", invalidArgs, isText), param{name: "version"}, param{name: "scene"}, param{name: "openid"}),
		upload("/wxa/img_sec_check", "checks a picture", (*call).imgSecCheck, ""),
		post("/wxa/media_check_async", "checks a picture or a sound later", (*call).mediaCheck,
			`{"version":2,"scene":1,"openid":"{openid}","media_type":2,"media_url":"https://example.com/a.png"}`,
			need("media_url", invalidArgs), check("media_type", invalidArgs, between(1, 2)), openIDParam("openid")),
		post("/wxa/getuserriskrank", "how risky a user is", (*call).riskRank,
			`{"appid":"{appid}","openid":"{openid}","scene":0,"client_ip":"127.0.0.1"}`, need("appid", invalidAppID),
			openIDParam("openid"), check("scene", invalidArgs, isWhole), need("client_ip", invalidArgs)),
	}
}

func (c *call) phoneNumber() (any, error) {
	code := c.text("code")
	if !useCode(c.account.phoneCodes, code) {
		return nil, refuse(codeUsed)
	}
	number := phoneNumberOf(code)
	return ok(object{"phone_info": object{
		"phoneNumber": number, "purePhoneNumber": number, "countryCode": "86",
		"watermark": object{"timestamp": c.now.Unix(), "appid": c.account.AppID},
	}}), nil
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
	risky, v2 := strings.Contains(c.text("content"), riskyText), c.number("version") == 2
	switch {
	case !v2 && risky:
		return nil, refuse(riskyContent)
	case !v2:
		return okStatus, nil
	case !isOpenID(c.text("openid")):
		return nil, refuse(invalidOpenID)
	}
	verdict := object{"suggest": "pass", "label": 100}
	if risky {
		verdict = object{"suggest": "risky", "label": 20001}
	}
	return ok(object{"result": verdict, "trace_id": newRID()}), nil
}

func (c *call) imgSecCheck() (any, error) {
	if _, err := c.checkUpload("image", maxPicture); err != nil {
		return nil, err
	}
	return okStatus, nil
}

func (c *call) mediaCheck() (any, error) { return ok(object{"trace_id": newRID()}), nil }

func (c *call) riskRank() (any, error) {
	if c.text("appid") != c.account.AppID {
		return nil, refuse(invalidAppID)
	}
	return ok(object{"risk_rank": 0, "unoin_id": 2258658297}), nil // WeChat's own spelling
}
