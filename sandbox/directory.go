package sandbox

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
)

// A corporation has these people and departments, and they never change.

type memberOfCorp struct {
	id, name, position string
	departments        []int
}

var corpMembers = []memberOfCorp{
	{"zhangsan", "张三", "经理", []int{1}},
	{"lisi", "李四", "工程师", []int{2}},
	{"wangwu", "王五", "工程师", []int{2, 3}},
}

type department struct {
	id, parent int
	name       string
}

var corpDepartments = []department{{1, 0, "公司"}, {2, 1, "研发"}, {3, 1, "销售"}}

func findMember(id string) *memberOfCorp {
	i := slices.IndexFunc(corpMembers, func(m memberOfCorp) bool { return m.id == id })
	if i < 0 {
		return nil
	}
	return &corpMembers[i]
}

// openID is what somebody is to a corporation that is none of its own people.
func (co *corp) openID(user string) string {
	sum := sha256.Sum256([]byte(co.id + "\x00" + user))
	return "o" + base64.RawURLEncoding.EncodeToString(sum[:])[:27]
}

// externalUserID is what a customer is to a corporation.
func (co *corp) externalUserID(user string) string { return "wm" + co.openID(user)[1:] + "AAAA" }

func directoryRoutes() []route {
	parent := check("department_id", weComNoDepartment, isDepartment)
	id := check("id", weComNoDepartment, optional(isDepartment))
	return all(agentToken,
		get("/cgi-bin/user/get", "a member", (*call).weComUser, "userid=zhangsan", need("userid", weComUserIDMissing)),
		get("/cgi-bin/user/list", "a department's members", (*call).weComUsers, "department_id=1&fetch_child=1",
			parent, param{name: "fetch_child"}),
		get("/cgi-bin/user/simplelist", "a department's members, in short", (*call).weComUsersInShort, "department_id=1", parent,
			param{name: "fetch_child"}),
		post("/cgi-bin/user/list_id", "all members' ids", (*call).weComUserIDs, `{"cursor":"","limit":100}`, opt("cursor", "limit")...),
		get("/cgi-bin/department/list", "the departments", (*call).weComDepartments, "id=1", id),
		get("/cgi-bin/department/simplelist", "the departments' ids", (*call).weComDepartmentIDs, "", id),
	)
}

func isDepartment(value any) bool {
	n, ok := whole(value)
	return ok && slices.ContainsFunc(corpDepartments, func(d department) bool { return d.id == n })
}

func (m *memberOfCorp) object() object {
	zeros := make([]int, len(m.departments))
	return object{
		"userid": m.id, "name": m.name, "department": m.departments, "order": zeros, "position": m.position,
		"gender": "1", "is_leader_in_dept": zeros, "direct_leader": []string{}, "alias": "", "status": 1,
		"enable": 1, "isleader": 0, "hide_mobile": 0, "telephone": "", "main_department": m.departments[0],
		"extattr": object{"attrs": []any{}},
	}
}

func (c *call) weComUser() (any, error) {
	m := findMember(c.param("userid"))
	if m == nil {
		return nil, c.refuse(weComNoUser)
	}
	return ok(m.object()), nil
}

// departmentMembers are those whom user/list and simplelist are about.
func (c *call) departmentMembers() []memberOfCorp {
	id, _ := whole(c.param("department_id"))
	children := c.param("fetch_child") == "1"
	var list []memberOfCorp
	for _, m := range corpMembers {
		if slices.Contains(m.departments, id) || children && id == corpDepartments[0].id {
			list = append(list, m)
		}
	}
	return list
}

func (c *call) weComUsers() (any, error) {
	list := []object{}
	for _, m := range c.departmentMembers() {
		list = append(list, m.object())
	}
	return ok(object{"userlist": list}), nil
}

func (c *call) weComUsersInShort() (any, error) {
	list := []object{}
	for _, m := range c.departmentMembers() {
		list = append(list, object{"userid": m.id, "name": m.name, "department": m.departments})
	}
	return ok(object{"userlist": list}), nil
}

func (c *call) weComUserIDs() (any, error) {
	list := []object{}
	for _, m := range corpMembers {
		for _, id := range m.departments {
			list = append(list, object{"userid": m.id, "department": id})
		}
	}
	return ok(object{"dept_user": list, "next_cursor": ""}), nil
}

// departments returns those that id, if it is there, is above.
func (c *call) departments(describe func(department) object) []object {
	id, asked := whole(c.param("id"))
	list := []object{}
	for _, d := range corpDepartments {
		if !asked || d.id == id || d.parent == id {
			list = append(list, describe(d))
		}
	}
	return list
}

func (c *call) weComDepartments() (any, error) {
	return ok(object{"department": c.departments(func(d department) object {
		return object{"id": d.id, "name": d.name, "name_en": "", "department_leader": []string{}, "parentid": d.parent, "order": 100_000_000}
	})}), nil
}

func (c *call) weComDepartmentIDs() (any, error) {
	return ok(object{"department_id": c.departments(func(d department) object {
		return object{"id": d.id, "parentid": d.parent, "order": 100_000_000}
	})}), nil
}

// External contacts: customers, whom members have added.

func externalRoutes() []route {
	return all(agentToken,
		get("/cgi-bin/externalcontact/list", "a member's customers", (*call).externalList, "userid=zhangsan",
			need("userid", weComUserIDMissing)),
		get("/cgi-bin/externalcontact/get", "a customer", (*call).externalGet, "external_userid={external_userid}",
			need("external_userid", invalidOpenID), param{name: "cursor"}),
		get("/cgi-bin/externalcontact/get_follow_user_list", "the members who may have customers", (*call).followUsers, ""),
		post("/cgi-bin/externalcontact/batch/get_by_user", "the customers of members", (*call).externalBatch,
			`{"userid_list":["zhangsan"],"cursor":"","limit":100}`, check("userid_list", weComUserIDMissing, isList),
			check("limit", invalidArgs, optional(between(1, 100))), param{name: "cursor"}),
	)
}

// contactOwner is the member who has customers.
const contactOwner = "zhangsan"

// customers are the corporation's, by their external user IDs.
func (co *corp) customers() map[string]string {
	return map[string]string{co.externalUserID("customer 1"): "客户一", co.externalUserID("customer 2"): "客户二"}
}

func (co *corp) customerIDs() []string {
	return []string{co.externalUserID("customer 1"), co.externalUserID("customer 2")}
}

func (c *call) externalList() (any, error) {
	switch user := c.param("userid"); {
	case findMember(user) == nil:
		return nil, c.refuse(weComNoUser)
	case user != contactOwner:
		return nil, c.refuse(weComNoExternalContact)
	}
	return ok(object{"external_userid": c.agent.corp.customerIDs()}), nil
}

func externalContact(id, name string) object {
	return object{"external_userid": id, "name": name, "type": 1, "gender": 0, "avatar": ""}
}

func followInfo() object {
	return object{"userid": contactOwner, "remark": "", "description": "", "createtime": 1_600_000_000, "add_way": 1}
}

func (c *call) externalGet() (any, error) {
	id := c.param("external_userid")
	name := c.agent.corp.customers()[id]
	if name == "" {
		return nil, c.refuse(weComNoExternalContact)
	}
	return ok(object{"external_contact": externalContact(id, name), "follow_user": []object{followInfo()}}), nil
}

func (c *call) followUsers() (any, error) {
	return ok(object{"follow_user": []string{contactOwner}}), nil
}

func (c *call) externalBatch() (any, error) {
	list := []object{}
	if slices.Contains(c.texts("userid_list"), contactOwner) {
		for _, id := range c.agent.corp.customerIDs() {
			list = append(list, object{
				"external_contact": externalContact(id, c.agent.corp.customers()[id]), "follow_info": followInfo(),
			})
		}
	}
	return ok(object{"external_contact_list": list, "next_cursor": ""}), nil
}
