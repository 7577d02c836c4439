-- The proxy's whole job in nginx: the token is in a dictionary that all workers
-- share, every answer is looked at, and if it says that the token is invalid,
-- one request fetches another one while the others wait, and each is sent once
-- more. An upload is kept, in a file if it is large, so that it can be.
--
-- Answers come from subrequests, which is the cheapest way that nginx has to
-- look at one and send the request again. They are in memory as a whole.

local M = {}

local tokens = ngx.shared.tokens
local capture = ngx.location.capture
local prefix = "/-/wechat"

local function fetch()
	local res = capture(prefix .. "/cgi-bin/stable_token", {
		method = ngx.HTTP_POST,
		args = "",
		body = '{"grant_type":"client_credential","appid":"{{.AppID}}","secret":"{{.AppSecret}}"}',
	})
	local token = string.match(res.body, '"access_token"%s*:%s*"([^"]+)"')
	local expires_in = tonumber(string.match(res.body, '"expires_in"%s*:%s*(%d+)'))
	if token and expires_in then
		tokens:set("token", token, expires_in - 60)
	end
	return token
end

-- token returns a token other than the one that was rejected.
local function token(rejected)
	for _ = 1, 500 do
		local current = tokens:get("token")
		if current and current ~= rejected then
			return current
		end
		if tokens:add("lock", true, 5) then
			current = tokens:get("token")
			if not current or current == rejected then
				current = fetch()
			end
			tokens:delete("lock")
			return current
		end
		ngx.sleep(0.01)
	end
end

-- rejected says whether an answer means that the token is invalid.
local function rejected(res)
	if res.status ~= 200 or #res.body > 4096 then
		return false
	end
	local errcode = string.match(res.body, '^%s*{%s*"errcode"%s*:%s*(%d+)')
	return errcode == "40001" or errcode == "42001" or errcode == "40014"
end

local function send(path, args, method, access_token)
	local query = "access_token=" .. access_token
	if args and args ~= "" then
		query = args .. "&" .. query
	end
	return capture(prefix .. path, { method = method, args = query, always_forward_body = true })
end

function M.handle()
	local method = ngx["HTTP_" .. ngx.req.get_method()]
	if not method then
		return ngx.exit(405)
	end
	ngx.req.read_body()
	local path = string.match(ngx.var.request_uri, "^[^?]*")
	local args = ngx.var.args
	if args and string.find(args, "access_token=", 1, true) then
		args = string.gsub("&" .. args, "&access_token=[^&]*", "")
	end

	local access_token = token()
	if not access_token then
		return ngx.exit(503)
	end
	local res = send(path, args, method, access_token)
	if rejected(res) then
		access_token = token(access_token)
		if access_token then
			res = send(path, args, method, access_token)
		end
	end
	if res.truncated then
		return ngx.exit(502)
	end

	ngx.status = res.status
	for name, value in pairs(res.header) do
		ngx.header[name] = value
	end
	ngx.print(res.body)
end

return M
