// What silenceper/wechat finds in a Redis that a mirror has written, without any
// HTTP request.
//
//	mirrored <host:port of Redis> <appid> <corpid> <agentid>
//
// It prints what it has found, one value a line, and exits with 1 if it had to
// ask WeChat for one.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/silenceper/wechat/v2"
	"github.com/silenceper/wechat/v2/cache"
	"github.com/silenceper/wechat/v2/credential"
	miniprogram "github.com/silenceper/wechat/v2/miniprogram/config"
	official "github.com/silenceper/wechat/v2/officialaccount/config"
	"github.com/silenceper/wechat/v2/util"
	work "github.com/silenceper/wechat/v2/work/config"
)

// noHTTP refuses every request.
type noHTTP struct{}

// RoundTrip implements http.RoundTripper.
func (noHTTP) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("the SDK asks WeChat")
}

func main() {
	http.DefaultTransport = noHTTP{}
	util.DefaultHTTPClient = &http.Client{Transport: noHTTP{}}
	redis := cache.NewRedis(context.Background(), &cache.RedisOpts{Host: os.Args[1]})
	if err := run(redis, os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// step gets one value in the SDK's own way.
type step struct {
	name string
	get  func() (string, error)
}

func run(redis cache.Cache, appID, corpID, agentID string) error {
	const secret = "no-secret-at-all"
	var steps []step
	add := func(name string, get func() (string, error)) { steps = append(steps, step{name, get}) }
	for _, stable := range []bool{false, true} {
		account := wechat.NewWechat().GetOfficialAccount(&official.Config{AppID: appID, AppSecret: secret, Cache: redis, UseStableAK: stable})
		add(fmt.Sprint("official account, stable ", stable), account.GetAccessToken)
		program := wechat.NewWechat().GetMiniProgram(&miniprogram.Config{AppID: appID, AppSecret: secret, Cache: redis, UseStableAK: stable})
		add(fmt.Sprint("mini program, stable ", stable), program.GetContext().GetAccessToken)
	}
	add("jsapi ticket", func() (string, error) {
		return credential.NewDefaultJsTicket(appID, credential.CacheKeyOfficialAccountPrefix, redis).GetTicket("")
	})
	for _, agent := range []string{agentID, ""} {
		app := wechat.NewWechat().GetWork(&work.Config{CorpID: corpID, CorpSecret: secret, AgentID: agent, Cache: redis})
		add("WeCom, agent "+agent, app.GetContext().GetAccessToken)
	}
	tickets := credential.NewWorkJsTicket(corpID, agentID, credential.CacheKeyWorkPrefix, redis)
	add("WeCom ticket", func() (string, error) { return tickets.GetTicket("", credential.TicketTypeCorpJs) })
	add("WeCom agent ticket", func() (string, error) { return tickets.GetTicket("", credential.TicketTypeAgentJs) })
	for _, step := range steps {
		value, err := step.get()
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Println(step.name+":", value)
	}
	return nil
}
