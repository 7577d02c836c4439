package sandbox

import "fmt"

// The sandbox keeps WeChat's facts for itself, and shares none with the proxy:
// what both got wrong in one place would pass every test.

// apiError is an answer whose errcode is not 0.
type apiError struct {
	code int
	msg  string
}

// Error returns errcode and errmsg in one line.
func (e *apiError) Error() string { return fmt.Sprintf("errcode %d: %s", e.code, e.msg) }

// refuse returns the error of an errcode, with WeChat's words for it.
func refuse(errcode int) error {
	return &apiError{code: errcode, msg: messages[errcode]}
}

// Errcodes of api.weixin.qq.com.
const (
	success               = 0
	systemBusy            = -1
	invalidCredential     = 40001
	invalidGrantType      = 40002
	invalidOpenID         = 40003
	invalidMediaType      = 40004
	invalidFileType       = 40005
	invalidMediaID        = 40007
	invalidMessageType    = 40008
	invalidImageSize      = 40009
	invalidAppID          = 40013
	invalidAccessToken    = 40014
	invalidButtonCount    = 40016
	invalidButtonName     = 40018
	invalidCode           = 40029
	invalidRefreshToken   = 40030
	invalidOpenIDList     = 40032
	invalidTemplateID     = 40037
	invalidURLSize        = 40039
	invalidActionInfo     = 40053
	invalidURL            = 40066
	invalidArgs           = 40097
	invalidIndex          = 40114
	invalidAppSecret      = 40125
	invalidScene          = 40129
	tooFewOpenIDs         = 40130
	invalidWXACodePath    = 40159
	codeUsed              = 40163
	invalidIP             = 40164
	invalidPagePath       = 40165
	invalidListCount      = 40170
	secretFrozen          = 40243
	accessTokenMissing    = 41001
	appIDMissing          = 41002
	appSecretMissing      = 41004
	mediaMissing          = 41005
	mediaIDMissing        = 41006
	codeMissing           = 41008
	accessTokenExpired    = 42001
	refreshTokenExpired   = 42002
	requireGET            = 43001
	requirePOST           = 43002
	userRefuses           = 43101
	emptyPostData         = 44002
	emptyNews             = 44003
	emptyContent          = 44004
	mediaTooLarge         = 45001
	contentTooLarge       = 45002
	titleTooLarge         = 45003
	quotaExhausted        = 45009
	tooFrequent           = 45011
	tooManyTags           = 45056
	systemTag             = 45058
	invalidTagName        = 45157
	tagNameTooLong        = 45158
	invalidTag            = 45159
	menuMissing           = 46003
	dataFormatError       = 47001
	invalidArgument       = 47003
	apiUnauthorized       = 48001
	clearanceExhausted    = 48006
	foreignOpenID         = 49003
	userLimited           = 50002
	tokenForbidden        = 50004
	accountFrozen         = 50007
	invalidDate           = 61500
	invalidDateRange      = 61501
	ridMissing            = 76001
	invalidRID            = 76002
	foreignRID            = 76003
	invalidCGIPath        = 76021
	foreignCGIPath        = 76022
	invalidExpiry         = 85401
	riskyContent          = 87014
	ipConfirmationPending = 89501
	ipNeedsConfirmation   = 89503
	ipRefusedTwice        = 89506
	ipRefusedOnce         = 89507
	invalidIndustry       = 40102
	tooManyTemplates      = 45026
	tooManyUserTags       = 45059
	tooManySubscriptions  = 200012
	invalidTID            = 200014
	invalidStart          = 200016
	invalidLimit          = 200017
	invalidCategoryIDs    = 200018
	invalidKeywordIDs     = 200020
	invalidSceneText      = 200021
)

var messages = map[int]string{ //nolint:gosec // words about secrets are none
	success:               "ok",
	systemBusy:            "system error",
	invalidCredential:     "invalid credential, access_token is invalid or not latest, could get access_token by getStableAccessToken, more details at https://mmbizurl.cn/s/JtxxFh33r",
	invalidGrantType:      "invalid grant_type",
	invalidOpenID:         "invalid openid",
	invalidMediaType:      "invalid media type",
	invalidFileType:       "invalid file type",
	invalidMediaID:        "invalid media_id",
	invalidMessageType:    "invalid message type",
	invalidImageSize:      "invalid image size",
	invalidAppID:          "invalid appid",
	invalidAccessToken:    "invalid access_token",
	invalidButtonCount:    "invalid button size",
	invalidButtonName:     "invalid button name size",
	invalidCode:           "invalid code",
	invalidRefreshToken:   "invalid refresh_token",
	invalidOpenIDList:     "invalid openid list size",
	invalidTemplateID:     "invalid template_id",
	invalidURLSize:        "invalid url size",
	invalidActionInfo:     "invalid action info",
	invalidURL:            "invalid url",
	invalidArgs:           "invalid args",
	invalidIndex:          "invalid index value",
	invalidAppSecret:      "invalid appsecret",
	invalidScene:          "invalid scene",
	tooFewOpenIDs:         "invalid openid list size, at least two openid",
	invalidWXACodePath:    "invalid length for path, or the data is not json string",
	codeUsed:              "code been used",
	invalidIP:             "invalid ip 1.2.3.4 ipv6 ::ffff:1.2.3.4, not in whitelist",
	invalidPagePath:       "invalid weapp pagepath",
	invalidListCount:      "args count exceed count limit",
	secretFrozen:          "appsecret is frozen",
	accessTokenMissing:    "access_token missing",
	appIDMissing:          "appid missing",
	appSecretMissing:      "appsecret missing",
	mediaMissing:          "media data missing",
	mediaIDMissing:        "missing media_id",
	codeMissing:           "missing code",
	accessTokenExpired:    "access_token expired",
	refreshTokenExpired:   "refresh_token expired",
	requireGET:            "require GET method",
	requirePOST:           "require POST method",
	userRefuses:           "user refuse to accept the msg",
	emptyPostData:         "empty post data",
	emptyNews:             "empty news data",
	emptyContent:          "empty content",
	mediaTooLarge:         "media size out of limit",
	contentTooLarge:       "content size out of limit",
	titleTooLarge:         "title size out of limit",
	quotaExhausted:        "reach max api daily quota limit",
	tooFrequent:           "api minute-quota reach limit, must slower, retry next minute",
	tooManyTags:           "too many tag now, no need to add new",
	systemTag:             "can't modify sys tag",
	invalidTagName:        "invalid tag name",
	tagNameTooLong:        "tag name too long",
	invalidTag:            "invalid tag id",
	menuMissing:           "menu no exist",
	dataFormatError:       "data format error",
	invalidArgument:       "argument invalid!",
	apiUnauthorized:       "api unauthorized",
	clearanceExhausted:    "forbid to clear quota because of reaching the limit",
	foreignOpenID:         "not match openid with appid",
	userLimited:           "user limited",
	tokenForbidden:        "forbid to get access_token",
	accountFrozen:         "account is frozen",
	invalidDate:           "date format error",
	invalidDateRange:      "date range error",
	ridMissing:            "rid not exist",
	invalidRID:            "invalid rid",
	foreignRID:            "could not query this rid, no permission",
	invalidCGIPath:        "cgi_path not found, please check",
	foreignCGIPath:        "could not use this cgi_path, no permission",
	invalidExpiry:         "invalid expire time",
	riskyContent:          "risky content",
	ipConfirmationPending: "ip is waiting for the administrator's confirmation",
	ipNeedsConfirmation:   "ip needs the administrator's confirmation",
	ipRefusedTwice:        "ip was refused twice by the administrator, retry in 24 hours",
	ipRefusedOnce:         "ip was refused by the administrator, retry in 1 hour",
	invalidIndustry:       "invalid industry id",
	tooManyTemplates:      "template num exceeds limit",
	tooManyUserTags:       "one user's tags size out of limit",
	tooManySubscriptions:  "template num exceeds limit",
	invalidComponent:      "invalid component",
	unauthorizedAt:        "component is not authorized by this account",
	ticketExpired:         "component ticket is expired",
	ticketInvalid:         "component ticket is invalid",
	authCodeInvalid:       "code is invalid",
	authCodeExpired:       "code is expired",
	refreshInvalid:        "refresh_token is invalid",
	wrongMethod:           "do not call this api for component",
	timestampMissing:      "missing Wechatmp-TimeStamp",
	signatureMissing:      "missing Wechatmp-Signature",
	securityAppMissing:    "missing Wechatmp-Appid",
	invalidSignature:      "invalid signature",
	invalidEncryption:     "invalid encrypted data",
	invalidSecurityApp:    "invalid Wechatmp-Appid",
	foreignSecurityApp:    "Wechatmp-Appid does not match access_token",
	symmetricKeyMissing:   "symmetric key is not set",
	publicKeyMissing:      "public key is not set",
	timestampTooOld:       "Wechatmp-TimeStamp is expired",
	invalidTID:            "invalid tid",
	invalidStart:          "invalid start",
	invalidLimit:          "invalid limit",
	invalidCategoryIDs:    "invalid ids",
	invalidKeywordIDs:     "invalid kidList",
	invalidSceneText:      "invalid sceneDesc",
}

// isTokenError reports whether an error is a refused token.
func isTokenError(err error) bool {
	refused, ok := err.(*apiError) //nolint:errorlint // it is never wrapped
	if !ok {
		return false
	}
	switch refused.code {
	case invalidCredential, invalidAccessToken, accessTokenExpired:
		return true
	}
	return false
}
