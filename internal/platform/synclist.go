package platform

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

const (
	// listTail is how many of the last listed appids are remembered, to see whether
	// the list has moved.
	listTail = 4 * wechat.MaxAuthorizersPerPage

	// listBacks is how often to go back in a list that has moved.
	listBacks = 100

	// listTries is how often to ask for a page that does not come, with listPause,
	// growing, in between.
	listTries = 3
	listPause = time.Second
)

var errListMoves = errors.New("the list of authorizers changes faster than it can be read: sync again")

// listedPage is a part of the list, as it was when it was asked for.
type listedPage struct {
	authorizers []wechat.ListedAuthorizer
	asked       time.Time
}

// listPages reads the list of authorizers, page by page, some of them more than
// once.
//
// The list changes while it is read: where an account has withdrawn, all that
// follow are one place further ahead, and one of them would be missed. So every
// page begins with the last appid of the one before; where it does not, the list
// has moved, and is read again from further ahead.
func listPages(
	ctx context.Context, now func() time.Time,
	list func(ctx context.Context, offset int) (page []wechat.ListedAuthorizer, total int, err error),
	visit func(listedPage) error,
) error {
	var tail []string
	for offset, backs := 0, 0; ; {
		asked := now()
		page, total, err := list(ctx, offset)
		if err != nil {
			return err
		}
		if offset > 0 && (len(page) == 0 || !slices.Contains(tail, page[0].AppID)) {
			if backs++; backs > listBacks {
				return errListMoves
			}
			offset = max(0, offset-wechat.MaxAuthorizersPerPage)
			continue
		}
		if err := visit(listedPage{page, asked}); err != nil {
			return err
		}
		for _, a := range page {
			tail = append(tail, a.AppID)
		}
		tail = slices.Delete(tail, 0, max(0, len(tail)-listTail))
		last := offset + len(page) - 1
		switch {
		case last+1 >= total:
			return nil
		case last <= offset:
			return fmt.Errorf("WeChat counts %d authorizers, and lists %d of them: sync again", total, last+1)
		}
		offset = last
	}
}

// list asks WeChat for a page of the list of authorizers. It asks again where there
// was no answer, or one that tells to.
func (p *Platform) list(ctx context.Context, offset int) (page []wechat.ListedAuthorizer, total int, err error) {
	for try := 1; ; try++ {
		err = p.withToken(ctx, func(token string) error {
			page, total, err = p.api.Authorizers(p.resolving(ctx), token, offset, wechat.MaxAuthorizersPerPage)
			return err
		})
		if err == nil || try == listTries || !isPassing(err) || ctx.Err() != nil {
			break
		}
		pause(ctx, time.Duration(try)*listPause)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("asking WeChat for the list of authorizers of platform %s: %w", p.config.Name, err)
	}
	return page, total, nil
}

// isPassing reports whether there was no answer, or that WeChat is busy.
func isPassing(err error) bool {
	if wxErr, ok := errors.AsType[*wechat.Error](err); ok {
		return wxErr.Code < 0
	}
	_, unavailable := errors.AsType[*credential.UnavailableError](err)
	return !unavailable // that has waits of its own
}

// pause waits, but no longer than for ctx.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// withToken makes a call with the component_access_token. One that is refused is
// replaced, once.
func (p *Platform) withToken(ctx context.Context, call func(token string) error) error {
	token, err := p.Component.Token(ctx)
	if err != nil {
		return err
	}
	err = call(token.Secret())
	if !isTokenError(err) {
		return err
	}
	other, err := p.Component.Replace(ctx, token, "")
	if err != nil {
		return err
	}
	err = call(other.Secret())
	other.Report(!isTokenError(err))
	return err
}
