// Command silenceper is what an application does with silenceper/wechat, whose
// hosts are written into it.
//
//	silenceper <appid> <secret> <URL that kills the token>
//
// It exits with 0 if the SDK has seen no failure.
package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/silenceper/wechat/v2"
	"github.com/silenceper/wechat/v2/cache"
	"github.com/silenceper/wechat/v2/officialaccount/config"
	"github.com/silenceper/wechat/v2/officialaccount/material"
	"github.com/silenceper/wechat/v2/officialaccount/message"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(appID, secret, kill string) error {
	account := wechat.NewWechat().GetOfficialAccount(&config.Config{AppID: appID, AppSecret: secret, Cache: cache.NewMemory()})
	for range 2 {
		users, err := account.GetUser().ListUserOpenIDs()
		if err != nil {
			return err
		}
		text := message.NewCustomerTextMessage(users.Data.OpenIDs[0], "hello")
		if err := account.GetCustomerMessageManager().Send(text); err != nil {
			return err
		}
		picture := strings.NewReader(strings.Repeat("picture", 30_000))
		if _, err := account.GetMaterial().MediaUploadFromReader(material.MediaTypeImage, "a.png", picture); err != nil {
			return err
		}
		res, err := http.Post(kill, "", nil)
		if err != nil {
			return err
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", kill, res.Status)
		}
	}
	return nil
}
