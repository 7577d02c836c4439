// Package sandbox simulates the WeChat API, so that an integration can be built
// and tested without an account and without a network. [Server] is a plain
// http.Handler; [Handler] is the same as Caddy's http.handlers.weixin_sandbox.
//
// It is as strict as WeChat: a token is checked before anything else, and one
// that WeChat would refuse is refused, with the same errcode in the same JSON.
// Both token endpoints keep their rules and quotas (by the Beijing day). Where
// the tokens are configured to live less than ten minutes, half a lifetime takes
// the place of WeChat's five minutes, in which a token and its successor both
// work. A chunked request body gets 412.
//
// These paths do something: /cgi-bin/token, stable_token, clear_quota (and /v2),
// user/get, user/info, message/custom/send, message/template/send,
// message/subscribe/send, media/upload, media/get, ticket/getticket, menu/create,
// menu/get, menu/delete, qrcode/create, get_api_domain_ip, getcallbackip;
// /wxa/getwxacode, getwxacodeunlimit, business/getuserphonenumber, msg_sec_check;
// /sns/jscode2session, userinfo, auth, oauth2/access_token, oauth2/refresh_token.
// Any other path answers {"errcode":0,"errmsg":"ok"} to whoever has a valid token.
//
// A login code may be any text of up to 128 characters and is good for one use.
// What stands before its first colon names the user: alice:1 and alice:2 are two
// codes of one openid.
//
// The control endpoints are for test scripts; requests of web pages get 403:
//
//	GET  /sandbox/accounts                 all accounts
//	GET  /sandbox/accounts/{appid}         what one account's clients have done so far
//	POST /sandbox/accounts/{appid}/expire  its tokens have expired: 42001
//	POST /sandbox/accounts/{appid}/revoke  its tokens are not the latest: 40001;
//	                                       with ?insist=true, stable_token goes on handing
//	                                       out the revoked one until it is forced
//	POST /sandbox/accounts/{appid}/fail    the next answers fail, for instance
//	                                       {"endpoint":"token","errcode":40164,"times":3};
//	                                       endpoint is token or api, errmsg may be given,
//	                                       times is 1 by default, and 0 ends it
//
// It does not simulate third-party platforms (48001), WeCom, payment, IP
// whitelists, the APIs' own quotas, API-security mode, nor the messages that
// WeChat sends to an application. Everything is kept in memory.
package sandbox
