// What an application of a WeCom corporation does with silenceper/wechat, as it is
// but for its URI modifier. The SDK itself knows nothing of tokens that die.
//
//	work <base URL> <corpid> <secret> <URL that kills the token>
//
// It exits with 0 if the SDK has seen no failure.
package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/silenceper/wechat/v2/cache"
	"github.com/silenceper/wechat/v2/util"
	"github.com/silenceper/wechat/v2/work"
	"github.com/silenceper/wechat/v2/work/config"
	"github.com/silenceper/wechat/v2/work/message"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(baseURL, corpID, secret, kill string) error {
	util.SetURIModifier(func(uri string) string {
		return strings.Replace(uri, "https://qyapi.weixin.qq.com", baseURL, 1)
	})
	app := work.NewWork(&config.Config{CorpID: corpID, CorpSecret: secret, AgentID: "1000002", Cache: cache.NewMemory()})
	for name, step := range map[string]func() error{
		"get": func() error {
			_, err := app.GetAddressList().UserGet("zhangsan")
			return err
		},
		"send": func() error {
			_, err := app.GetMessage().SendText(message.SendTextRequest{
				SendRequestCommon: &message.SendRequestCommon{ToUser: "zhangsan", MsgType: "text", AgentID: "1000002"},
				Text:              message.TextField{Content: "你好"},
			})
			return err
		},
	} {
		for range 2 {
			if err := step(); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			res, err := http.Post(kill, "", nil)
			if err != nil {
				return err
			}
			res.Body.Close()
		}
	}
	return nil
}
