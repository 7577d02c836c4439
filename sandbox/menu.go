package sandbox

import "encoding/json"

const maxButtons = 3

type menu struct {
	Button []json.RawMessage `json:"button"`
}

func menuRoutes() []route {
	return []route{
		post("/cgi-bin/menu/create", "makes the menu", (*call).menuCreate,
			`{"button":[{"type":"click","name":"Today","key":"TODAY"}]}`, check("button", invalidButtonCount, isList)),
		get("/cgi-bin/menu/get", "the menu", (*call).menuGet, ""),
		get("/cgi-bin/menu/delete", "deletes the menu", (*call).menuDelete, ""),
		get("/cgi-bin/get_current_selfmenu_info", "the menu as users see it", (*call).menuInfo, ""),
	}
}

func (c *call) menuCreate() (any, error) {
	var created menu
	if err := c.decode(&created); err != nil {
		return nil, err
	}
	if len(created.Button) > maxButtons {
		return nil, refuse(invalidButtonCount)
	}
	for _, raw := range created.Button {
		var button struct {
			Name string `json:"name"`
		}
		if json.Unmarshal(raw, &button) != nil || button.Name == "" {
			return nil, refuse(invalidButtonName)
		}
	}
	c.account.menu = &created
	return okStatus, nil
}

func (c *call) menuGet() (any, error) {
	if c.account.menu == nil {
		return nil, refuse(menuMissing)
	}
	return object{"menu": c.account.menu}, nil
}

func (c *call) menuDelete() (any, error) {
	c.account.menu = nil
	return okStatus, nil
}

func (c *call) menuInfo() (any, error) {
	if c.account.menu == nil {
		return object{"is_menu_open": 0, "selfmenu_info": object{"button": []any{}}}, nil
	}
	return object{"is_menu_open": 1, "selfmenu_info": c.account.menu}, nil
}
