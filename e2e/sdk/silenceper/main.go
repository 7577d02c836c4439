// What an application does with silenceper/wechat, as it is but for its URI
// modifier. The SDK itself knows nothing of tokens that die. (Its mini program
// codes and GetMediaURL go to api.weixin.qq.com whatever the modifier says.)
//
//	silenceper <base URL> <appid> <secret> <URL that kills the token>
//
// It exits with 0 if the SDK has seen no failure.
package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/silenceper/wechat/v2"
	"github.com/silenceper/wechat/v2/cache"
	"github.com/silenceper/wechat/v2/officialaccount"
	official "github.com/silenceper/wechat/v2/officialaccount/config"
	"github.com/silenceper/wechat/v2/officialaccount/material"
	"github.com/silenceper/wechat/v2/officialaccount/message"
	"github.com/silenceper/wechat/v2/util"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(baseURL, appID, secret, kill string) error {
	util.SetURIModifier(func(uri string) string {
		return strings.Replace(uri, "https://api.weixin.qq.com", baseURL, 1)
	})
	for _, stable := range []bool{false, true} {
		config := &official.Config{AppID: appID, AppSecret: secret, Cache: cache.NewMemory(), UseStableAK: stable}
		if err := useOfficialAccount(wechat.NewWechat().GetOfficialAccount(config), kill); err != nil {
			return err
		}
	}
	return nil
}

// useOfficialAccount does everything twice, with the token's death in between.
func useOfficialAccount(account *officialaccount.OfficialAccount, kill string) error {
	users, err := account.GetUser().ListUserOpenIDs()
	if err != nil {
		return err
	}
	openID := users.Data.OpenIDs[0]
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"list", func() error {
			_, err := account.GetUser().ListUserOpenIDs()
			return err
		}},
		{"send", func() error {
			return account.GetCustomerMessageManager().Send(message.NewCustomerTextMessage(openID, "你好"))
		}},
		{"upload", func() error {
			_, err := account.GetMaterial().MediaUploadFromReader(material.MediaTypeImage, "picture.png", bytes.NewReader(make([]byte, 200_000)))
			return err
		}},
		{"ticket", func() error {
			_, err := account.GetJs().GetConfig("https://shop.example.com/")
			return err
		}},
	} {
		for range 2 {
			if err := step.do(); err != nil {
				return fmt.Errorf("%s: %w", step.name, err)
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
