package sandbox

import "time"

// ticket is a jsapi_ticket or one of its kin.
type ticket struct {
	value   string
	expires time.Time
	before  *ticket // the one that it has replaced, to tell that from a wrong one
}

// ticketLifetime is also what every answer says, however old the ticket is.
const ticketLifetime = 2 * time.Hour

// currentTicket returns the ticket of a type: the same for as long as it lives.
func currentTicket(tickets map[string]*ticket, kind string, now time.Time) *ticket {
	t := tickets[kind]
	if t == nil || !now.Before(t.expires) {
		if t != nil {
			t.before = nil
		}
		t = &ticket{value: randomText(86), expires: now.Add(ticketLifetime), before: t}
		tickets[kind] = t
	}
	return t
}

// endTickets ends the tickets' lives: the next call gets another.
func endTickets(tickets map[string]*ticket) {
	for _, t := range tickets {
		t.expires = time.Time{}
	}
}

func (t *ticket) answer() object {
	return ok(object{"ticket": t.value, "expires_in": int(ticketLifetime / time.Second)})
}

func (c *call) getTicket() (any, error) {
	c.account.ticketFetches++
	return currentTicket(c.account.tickets, c.param("type"), c.now).answer(), nil
}
