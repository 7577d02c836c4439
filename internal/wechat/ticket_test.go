package wechat

import (
	"net/http/httptest"
	"testing"
)

// A kind has its tickets where it has them, some without a type.
func TestTicketAskedFor(t *testing.T) {
	for _, c := range []struct {
		types               TicketTypes
		method, target, typ string
	}{
		{Official.Tickets, "GET", "/cgi-bin/ticket/getticket?type=jsapi", JSAPITicket},
		{Official.Tickets, "POST", "/cgi-bin/ticket/getticket?access_token=x&type=wx_card&a=b", CardTicket},
		{Official.Tickets, "HEAD", "/cgi-bin/ticket/getticket/?typ%65=2", SDKTicket},
		{Official.Tickets, "GET", "/CGI-BIN/ticket/getTicket?type=jsapi", JSAPITicket},
		{Official.Tickets, "PUT", "/cgi-bin/ticket/getticket?type=jsapi", ""},
		{Official.Tickets, "GET", "/cgi-bin/ticket/getticket", ""},
		{Official.Tickets, "GET", "/cgi-bin/ticket/getticket?type=", ""},
		{Official.Tickets, "GET", "/cgi-bin/ticket/getticket?type=JSAPI", ""},
		{Official.Tickets, "GET", "/cgi-bin/ticket/getticket?type=jsapi&type=jsapi", ""},
		{Official.Tickets, "GET", "/cgi-bin/ticket/getticket?Type=jsapi", ""},
		{Official.Tickets, "GET", "/cgi-bin/ticket/get?type=agent_config", ""},
		{Official.Tickets, "GET", "/cgi-bin/get_jsapi_ticket", ""},
		{WeCom.Tickets, "GET", "/cgi-bin/get_jsapi_ticket?access_token=x", JSAPITicket},
		{WeCom.Tickets, "GET", "/cgi-bin/get_jsapi_ticket?type=jsapi", ""},
		{WeCom.Tickets, "GET", "/cgi-bin/ticket/get?type=agent_config", AgentTicket},
		{WeCom.Tickets, "GET", "/cgi-bin/ticket/get?type=wx_card", CardTicket},
		{WeCom.Tickets, "GET", "/cgi-bin/ticket/get", ""},
	} {
		got, ok := c.types.Of(httptest.NewRequest(c.method, c.target, nil))
		if got.Name != c.typ || ok != (c.typ != "") {
			t.Errorf("%s %s: got %q", c.method, c.target, got.Name)
		}
	}
}
