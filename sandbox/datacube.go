package sandbox

import (
	"maps"
	"slices"
	"time"
)

// statistics are the paths below /datacube/, with how many days they take at
// once and what they count on each. There is nothing to be counted, so all
// numbers are 0.
var statistics = map[string]struct {
	days    int
	numbers []string
}{
	"getusersummary":                      {7, []string{"user_source", "new_user", "cancel_user"}},
	"getusercumulate":                     {7, []string{"cumulate_user"}},
	"getarticlesummary":                   {1, []string{"int_page_read_user", "int_page_read_count", "share_user", "share_count"}},
	"getarticletotal":                     {1, []string{"user_source"}},
	"getuserread":                         {3, []string{"int_page_read_user", "int_page_read_count", "share_user", "share_count"}},
	"getuserreadhour":                     {1, []string{"ref_hour", "int_page_read_user", "int_page_read_count"}},
	"getusershare":                        {7, []string{"share_scene", "share_count", "share_user"}},
	"getusersharehour":                    {1, []string{"ref_hour", "share_scene", "share_count", "share_user"}},
	"getupstreammsg":                      {7, []string{"msg_type", "msg_user", "msg_count"}},
	"getupstreammsghour":                  {1, []string{"ref_hour", "msg_type", "msg_user", "msg_count"}},
	"getupstreammsgweek":                  {30, []string{"msg_type", "msg_user", "msg_count"}},
	"getupstreammsgmonth":                 {30, []string{"msg_type", "msg_user", "msg_count"}},
	"getupstreammsgdist":                  {15, []string{"count_interval", "msg_user"}},
	"getupstreammsgdistweek":              {30, []string{"count_interval", "msg_user"}},
	"getupstreammsgdistmonth":             {30, []string{"count_interval", "msg_user"}},
	"getinterfacesummary":                 {30, []string{"callback_count", "fail_count", "total_time_cost", "max_time_cost"}},
	"getinterfacesummaryhour":             {1, []string{"ref_hour", "callback_count", "fail_count", "total_time_cost", "max_time_cost"}},
	"getweanalysisappiddailysummarytrend": {1, []string{"visit_total", "share_pv", "share_uv"}},
	"getweanalysisappiddailyvisittrend":   {1, []string{"session_cnt", "visit_pv", "visit_uv", "visit_uv_new"}},
	"getweanalysisappidweeklyvisittrend":  {7, []string{"session_cnt", "visit_pv", "visit_uv", "visit_uv_new"}},
	"getweanalysisappidmonthlyvisittrend": {31, []string{"session_cnt", "visit_pv", "visit_uv", "visit_uv_new"}},
	"getweanalysisappidvisitpage":         {1, []string{"page_visit_pv", "page_visit_uv"}},
	"getweanalysisappidvisitdistribution": {1, []string{"index"}},
	"getweanalysisappiddailyretaininfo":   {1, []string{"visit_uv_new", "visit_uv"}},
	"getweanalysisappidweeklyretaininfo":  {7, []string{"visit_uv_new", "visit_uv"}},
	"getweanalysisappidmonthlyretaininfo": {31, []string{"visit_uv_new", "visit_uv"}},
}

func datacubeRoutes() []route {
	var routes []route
	for _, name := range slices.Sorted(maps.Keys(statistics)) {
		s := statistics[name]
		day := check("begin_date", invalidDate, isText)
		end := check("end_date", invalidDate, isText)
		example := `{"begin_date":"{yesterday}","end_date":"{yesterday}"}`
		routes = append(routes, post("/datacube/"+name, "statistics of up to "+days(s.days), func(c *call) (any, error) {
			return c.statistics(s.days, s.numbers)
		}, example, day, end))
	}
	return routes
}

func days(n int) string {
	if n == 1 {
		return "one day"
	}
	return itoa(n) + " days"
}

// statistics are of days that are over: today's are not there yet.
func (c *call) statistics(limit int, numbers []string) (any, error) {
	begin, err := c.date("begin_date")
	if err != nil {
		return nil, err
	}
	end, err := c.date("end_date")
	if err != nil {
		return nil, err
	}
	today := c.now.In(beijing).Format(dateLayouts[0])
	if end.Before(begin) || end.Sub(begin) >= time.Duration(limit)*24*time.Hour || end.Format(dateLayouts[0]) >= today {
		return nil, refuse(invalidDateRange)
	}
	list := []object{}
	for day := begin; !day.After(end); day = day.AddDate(0, 0, 1) {
		item := object{"ref_date": day.Format(dateLayouts[0])}
		for _, name := range numbers {
			item[name] = 0
		}
		list = append(list, item)
	}
	return object{"list": list}, nil
}

// Mini programs write a date without hyphens.
var dateLayouts = []string{"2006-01-02", "20060102"}

func (c *call) date(name string) (time.Time, error) {
	for _, layout := range dateLayouts {
		if t, err := time.ParseInLocation(layout, c.text(name), beijing); err == nil {
			return t, nil
		}
	}
	return time.Time{}, refuse(invalidDate)
}
