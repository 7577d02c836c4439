package sandbox

import "time"

// ticket is a jsapi_ticket or one of its kin.
type ticket struct {
	value   string
	expires time.Time
}

// ticketLifetime is also what every answer says, however old the ticket is.
const ticketLifetime = 2 * time.Hour

// current returns the ticket of a type: the same for as long as it lives.
func currentTicket(tickets map[string]*ticket, kind string, now time.Time) *ticket {
	t := tickets[kind]
	if t == nil || !now.Before(t.expires) {
		t = &ticket{value: randomText(86), expires: now.Add(ticketLifetime)}
		tickets[kind] = t
	}
	return t
}

func (t *ticket) answer() object {
	return ok(object{"ticket": t.value, "expires_in": int(ticketLifetime / time.Second)})
}

func (c *call) getTicket() (any, error) {
	c.account.ticketFetches++
	return currentTicket(c.account.tickets, c.param("type"), c.now).answer(), nil
}
