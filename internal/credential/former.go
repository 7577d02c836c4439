package credential

import (
	"bytes"
	"context"
	"strconv"

	"go.uber.org/zap"
)

// Former is where earlier releases kept a credential's record. A record that is
// found there is moved, once, to where it belongs now.
type Former struct {
	Key   string
	AppID string // it was sealed with this and the secret
}

// movedAway is what is left where a record was, so that no other credential
// adopts it. Earlier releases take it for a value that they cannot open.
var movedAway = []byte("moved\n")

// move takes over a record that an earlier release has left, if no other
// credential has done so. The record goes to one upstream, whichever asks first:
// the lock sees to that, without which it is left alone.
func (s *sharedStore) move(ctx context.Context, c *Credential) (record, error) {
	place := c.Former(c)
	former, err := s.read(ctx, place.Key)
	if err != nil {
		return record{}, err
	}
	if former == nil || bytes.Equal(former, movedAway) {
		c.runner.moved.Store(true)
		return record{}, nil
	}
	r, err := openRecord(formerSealer(place.AppID, c.ID.Secret), former)
	if err != nil {
		c.runner.moved.Store(true) // it is no use to anybody with this secret
		return record{}, nil
	}
	lockCtx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	locked, giveUp := s.takeLock(lockCtx, cancel, "weixin-moving-"+c.ID.Identity+"-"+strconv.FormatInt(r.Generation, 36))
	select {
	case l := <-locked:
		if l.err != nil {
			return record{}, nil
		}
		defer l.unlock()
	case <-lockCtx.Done():
		giveUp()
		return record{}, nil
	}
	if again, err := s.read(ctx, place.Key); err != nil || !bytes.Equal(again, former) {
		return record{}, err
	}
	if err := s.write(ctx, place.Key, movedAway); err != nil {
		return record{}, err
	}
	if err := s.save(ctx, c, r); err != nil {
		_ = s.write(ctx, place.Key, former) // it is worth a fetch at most
		return record{}, err
	}
	c.runner.moved.Store(true)
	s.logger.Info("a record of an earlier release was taken over", zap.String("account", c.Name))
	return r, nil
}
