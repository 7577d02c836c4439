package platform

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
)

// loadRoot returns the root, an empty one where there is none.
func (x *index) loadRoot(ctx context.Context) (*indexRoot, error) {
	data, err := x.store.Load(ctx, x.key("root"), &x.id)
	if err != nil && !errors.Is(err, credential.ErrUnsealable) {
		return nil, err
	}
	if data != nil {
		root, invalid := unmarshalRoot(data)
		if invalid == nil {
			return root, nil
		}
		err = invalid
	}
	if err != nil {
		x.logger.Warn("the index of authorizers is begun anew: sync the platform to have all of them in it", zap.Error(err))
	}
	return &indexRoot{next: 1}, nil
}

func (x *index) saveRoot(ctx context.Context, root *indexRoot) error {
	data, err := root.marshal()
	if err != nil {
		return err
	}
	return x.store.Save(ctx, x.key("root"), &x.id, data)
}

// loadPage returns what is in a page's range, and reports whether the page is what
// the root takes it for: it is not where the root is an older one, or the store has
// lost something.
func (x *index) loadPage(ctx context.Context, root *indexRoot, i int) (appIDs []string, ok bool, err error) {
	ref, high := root.pages[i], root.high(i)
	id := x.pageID(ref.number)
	data, err := x.store.Load(ctx, x.key(strconv.Itoa(ref.number)), &id)
	if err != nil && !errors.Is(err, credential.ErrUnsealable) {
		return nil, false, err
	}
	p, ok := unmarshalPage(data)
	if !ok {
		return nil, false, nil
	}
	return within(p.AppIDs, ref.low, high), p.Low == ref.low && isWithin(high, p.High), nil
}

func (x *index) savePage(ctx context.Context, number int, p page) error {
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	id := x.pageID(number)
	return x.store.Save(ctx, x.key(strconv.Itoa(number)), &id, data)
}

func (x *index) key(name string) string {
	return "weixin/authorizers/" + x.id.Identity + "-" + x.place + "/" + name
}

// pageID is what a page is sealed for: no other page opens in its place.
func (x *index) pageID(number int) credential.ID {
	id := x.id
	id.Identity += "-" + strconv.Itoa(number)
	return id
}
