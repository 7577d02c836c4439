// Package apisecurity encrypts and signs requests, and verifies and decrypts
// their answers, as WeChat's API security mode (服务端API签名与加密) wants it:
// AES-256-GCM, and RSASSA-PSS with SHA-256 and a salt of 32 bytes.
//
// The access_token is in none of what is encrypted or signed. A request can be
// given another, but not another path or another byte in its body.
package apisecurity

import (
	"net/http"
	"strings"
)

// origin is what stands before the path in everything that is signed, whatever
// host a request goes to.
const origin = "https://api.weixin.qq.com"

// Header fields of requests and answers.
const (
	headerAppID               = "Wechatmp-Appid"
	headerTimestamp           = "Wechatmp-Timestamp"
	headerSerial              = "Wechatmp-Serial"
	headerSignature           = "Wechatmp-Signature"
	headerSerialDeprecated    = "Wechatmp-Serial-Deprecated"
	headerSignatureDeprecated = "Wechatmp-Signature-Deprecated"

	headerPrefix = "Wechatmp-"
)

// IsSigned reports whether the application has signed a request itself. It
// passes as it is.
func IsSigned(h http.Header) bool { return len(h[headerSignature]) > 0 }

// StripHeader removes from an answer's header what belongs to its encryption.
func StripHeader(h http.Header) {
	for name := range h {
		if strings.HasPrefix(name, headerPrefix) {
			delete(h, name)
		}
	}
}

// Paths are the paths whose documentation says that they support API security,
// as patterns in which a final asterisk stands for anything.
var Paths = []string{
	"/cgi-bin/clear_quota",
	"/cgi-bin/express/business/account/getall",
	"/cgi-bin/express/business/delivery/getall",
	"/cgi-bin/express/business/printer/getall",
	"/cgi-bin/express/intracity/*", // these refuse what is not signed
	"/cgi-bin/message/custom/send",
	"/cgi-bin/message/subscribe/send",
	"/cgi-bin/message/wxopen/updatablemsg/send",
	"/cgi-bin/openapi/quota/get",
	"/cgi-bin/openapi/rid/get",
	"/cgi-bin/soter/verify_signature",
	"/cgi-bin/wxaapp/createwxaqrcode",
	"/datacube/getweanalysisappid*",
	"/wxa/business/checkencryptedmsg",
	"/wxa/business/getuserencryptkey",
	"/wxa/business/getuserphonenumber",
	"/wxa/business/performance/boot",
	"/wxa/devplugin",
	"/wxa/getpluginopenpid",
	"/wxa/getuserriskrank",
	"/wxa/getwxacode",
	"/wxa/getwxacodeunlimit",
	"/wxa/getwxadevinfo",
	"/wxa/media_check_async",
	"/wxa/msg_sec_check",
	"/wxa/plugin",
	"/wxa/servicemarket",
	"/wxaapi/log/get_performance",
	"/wxaapi/log/jserr_detail",
	"/wxaapi/log/jserr_list",
	"/wxaapi/newtmpl/addtemplate",
	"/wxaapi/newtmpl/deltemplate",
}
