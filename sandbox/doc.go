// Package sandbox simulates WeChat, so that an integration can be built and
// tested without an account and without a network: api.weixin.qq.com,
// qyapi.weixin.qq.com (WeCom), and the open platform with its pushes. [Server]
// is a plain http.Handler; [Handler] is the same as Caddy's
// http.handlers.weixin_sandbox.
//
// It is as strict as WeChat: a token is checked before anything else, and one
// that WeChat would refuse is refused, with the same errcode in the same JSON. A
// path that does not exist is errcode 40066. Both token endpoints keep their
// rules and quotas (by the Beijing day). Where the tokens are configured to live
// less than ten minutes, half a lifetime takes the place of WeChat's five
// minutes, in which a token and its successor both work. A chunked request body
// gets 412.
//
// What stands behind a path is a [route], in one table; docs/sandbox.md is made
// of it. The endpoints below /sandbox/ are for test scripts, and described there
// too.
//
// It does not simulate payment, IP whitelists, the APIs' own quotas, suites and
// provider tokens of WeCom, SM2 and SM4, nor the messages that users send to an
// application. Everything is kept in memory.
package sandbox
