package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Nothing is measured before every answer is right: an error is answered fast.

// control talks to the upstream about itself.
type control struct{ client *client }

func (c *control) post(ctx context.Context, path string) (upstreamState, error) {
	var state upstreamState
	call := newCall(http.MethodPost, path, "", nil, "application/json")
	a, err := c.client.ask(ctx, &call)
	if err != nil {
		return state, fmt.Errorf("the upstream: %w", err)
	}
	return state, json.Unmarshal(a.body, &state)
}

// awaitPeer waits until a peer answers as it should.
func awaitPeer(ctx context.Context, p *peer) error {
	const patience = 30 * time.Second
	call := p.call(getCall)
	for end := time.Now().Add(patience); ; {
		err := once(ctx, p, call)
		if err == nil {
			return nil
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case p.process != nil && p.process.ended():
			return p.process.failure(errors.New("it has ended"))
		case time.Now().After(end) && p.process != nil:
			return p.process.failure(err)
		case time.Now().After(end):
			return fmt.Errorf("%s: %w", p.name, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// once sends one request on a connection of its own.
func once(ctx context.Context, p *peer, call *call) error {
	c := newClient(p.dial)
	defer c.close()
	return c.do(ctx, call)
}

// verify checks the answers to all that will be measured.
func verify(ctx context.Context, c *control, peers []*peer) error {
	for _, p := range peers {
		if !p.fetches {
			continue
		}
		if err := verifyReplay(ctx, c, p); err != nil {
			return p.failure(err)
		}
	}
	for _, p := range peers {
		for _, s := range scenarios {
			if !p.measurable(&s) {
				continue
			}
			if err := once(ctx, p, p.call(s.check)); err != nil {
				return p.failure(fmt.Errorf("%s: %w", s.title, err))
			}
		}
	}
	return nil
}

// failure adds what the peer says itself to an error.
func (p *peer) failure(err error) error {
	if p.process == nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return p.process.failure(err)
}

// verifyReplay checks that clients do not notice that a token was rejected, and
// that one token is fetched for all of them.
func verifyReplay(ctx context.Context, c *control, p *peer) error {
	call := p.call(getCall)
	if err := once(ctx, p, call); err != nil { // it has the token that is good now
		return err
	}
	before, err := c.post(ctx, revokePath)
	if err != nil {
		return err
	}
	const clients = 8
	errs := make([]error, clients)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = once(ctx, p, call) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("after the token was revoked: %w", err)
	}
	after, err := c.post(ctx, statePath)
	if err != nil {
		return err
	}
	if n := after.Fetches - before.Fetches; n != 1 {
		return fmt.Errorf("%d requests with a revoked token led to %d fetches", clients, n)
	}
	return nil
}
