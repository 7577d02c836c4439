package sandbox

import "time"

const (
	maxLongURL  = 2048
	maxLongData = 4096
	maxShorten  = 30 * 24 * 60 * 60 // seconds
	dayOfALink  = 30                // at most
)

// shortened is what a short key stands for.
type shortened struct {
	data    string
	created time.Time
	seconds int
}

func linkRoutes() []route {
	expiry := append(opt("expire_type", "expire_time"), check("expire_interval", invalidExpiry, optional(between(1, dayOfALink))))
	scheme := append(opt("is_expire"), expiry...)
	return []route{
		post("/cgi-bin/shorturl", "a short address", (*call).shortURL, `{"action":"long2short","long_url":"https://example.com/a/long/one"}`,
			check("action", invalidArgs, oneOf("long2short")), check("long_url", invalidURLSize, textUpTo(maxLongURL))),
		post("/cgi-bin/shorten/gen", "a short key for a text", (*call).shortenGen, `{"long_data":"a long text","expire_seconds":86400}`,
			check("long_data", invalidArgs, textUpTo(maxLongData)), check("expire_seconds", invalidArgs, optional(between(1, maxShorten)))),
		post("/cgi-bin/shorten/fetch", "the text of a short key", (*call).shortenFetch, `{"short_key":"{short}"}`,
			need("short_key", invalidArgs)),
		post("/wxa/generate_urllink", "a link into a mini program", (*call).urlLink, `{"path":"pages/index","query":"a=1"}`,
			append(opt("path", "query"), expiry...)...),
		post("/wxa/generatescheme", "a weixin:// link into a mini program", (*call).scheme,
			`{"jump_wxa":{"path":"pages/index","query":"a=1"},"is_expire":true,"expire_type":1,"expire_interval":30}`,
			append(opt("jump_wxa.path", "jump_wxa.query"), scheme...)...),
		post("/wxa/genwxashortlink", "a short link into a mini program", (*call).shortLink,
			`{"page_url":"pages/index","page_title":"Home"}`, need("page_url", invalidPagePath), param{name: "page_title"}),
	}
}

func (c *call) shortURL() (any, error) {
	return ok(object{"short_url": "https://w.url.cn/s/" + randomText(7)}), nil
}

func (c *call) shortenGen() (any, error) {
	seconds := c.number("expire_seconds")
	if seconds == 0 {
		seconds = maxShorten
	}
	key := randomText(15)
	c.account.shortened.add(key, shortened{c.text("long_data"), c.now, seconds})
	return ok(object{"short_key": key}), nil
}

func (c *call) shortenFetch() (any, error) {
	s, found := c.account.shortened.get(c.text("short_key"))
	left := time.Duration(s.seconds)*time.Second - c.now.Sub(s.created)
	if !found || left <= 0 {
		return nil, refuse(invalidArgs)
	}
	return ok(object{"long_data": s.data, "create_time": s.created.Unix(), "expire_seconds": int(left / time.Second)}), nil
}

// checkExpiry checks when a link is to end.
func (c *call) checkExpiry() error {
	if c.number("expire_type") == 1 {
		if c.number("expire_interval") == 0 {
			return refuse(invalidExpiry)
		}
		return nil
	}
	at := c.number("expire_time")
	if at == 0 {
		return nil
	}
	if left := time.Unix(int64(at), 0).Sub(c.now); left < time.Minute || left > (dayOfALink+1)*24*time.Hour {
		return refuse(invalidExpiry)
	}
	return nil
}

func (c *call) urlLink() (any, error) {
	if err := c.checkExpiry(); err != nil {
		return nil, err
	}
	return ok(object{"url_link": "https://wxaurl.cn/" + randomText(11)}), nil
}

func (c *call) scheme() (any, error) {
	if err := c.checkExpiry(); err != nil {
		return nil, err
	}
	return ok(object{"openlink": "weixin://dl/business/?t=" + randomText(10)}), nil
}

func (c *call) shortLink() (any, error) {
	return ok(object{"link": "#小程序://" + c.text("page_title") + "/" + randomText(15)}), nil
}
