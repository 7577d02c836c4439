package weixin

import (
	"context"
	"sync"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/platform"
)

// PlatformStatus is what can be told of a third-party platform without showing its
// token or its ticket. The token is the component_access_token.
type PlatformStatus struct {
	AccountStatus
	platformDetails
}

// platformDetails are what an account has not.
type platformDetails struct {
	Ticket      PlatformTicket      `json:"ticket"`
	Authorizers PlatformAuthorizers `json:"authorizers"`
}

// PlatformTicket is the newest component_verify_ticket that was pushed. Without
// one both times are missing.
type PlatformTicket struct {
	ReceivedAt time.Time `json:"received_at,omitzero"`
	ExpiresAt  time.Time `json:"expires_at,omitzero"`
}

// PlatformAuthorizers is how many accounts have authorised the platform.
type PlatformAuthorizers struct {
	// Known is how many are in the store. It is left out while that does not answer.
	Known *int `json:"known,omitempty"`

	InMemory int `json:"in_memory"` // of this process
}

// look has the platforms' tickets and tokens be what all processes know together.
func (ps *platforms) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	var wg sync.WaitGroup
	for _, of := range ps.all {
		wg.Go(func() { of.Look(ctx) })
	}
	wg.Wait()
}

// detailsOf asks the store no more than how many authorizers there are.
func detailsOf(ctx context.Context, p *platform.Platform) platformDetails {
	var s platformDetails
	ticket := p.TicketStatus()
	s.Ticket = PlatformTicket{ReceivedAt: ticket.ReceivedAt, ExpiresAt: ticket.ExpiresAt}
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	known, inMemory, err := p.Count(ctx)
	s.Authorizers.InMemory = inMemory
	if err == nil {
		s.Authorizers.Known = &known
	}
	return s
}
