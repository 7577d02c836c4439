// Package ticket knows how the tickets are kept with which pages and cards are
// signed: how one is asked for, and what an application is answered that asks for
// one. Which a kind of accounts has, and where, is in the package wechat.
//
// A ticket's own expires_in is not the truth: it is the same from the first day
// to the last minute of a ticket's life, and no error ever tells that one has
// died. So a ticket is kept by asking for it again and again, and whoever is
// handed one is told a time after which to ask again, too.
package ticket

import (
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
)

// Policy is how tickets are kept. Within its life every call returns the same
// one, whose death nobody is told of, so it is asked for again as long as
// somebody uses it, and good for as long as WeChat has said so lately.
var Policy = &credential.Policy{
	Lead:       time.Minute,
	Recheck:    20 * time.Minute,
	Idle:       time.Hour,
	Life:       2 * time.Hour,
	Idempotent: true,
	Zone:       time.FixedZone("UTC+8", 8*60*60), // the days of WeChat's quotas
}
