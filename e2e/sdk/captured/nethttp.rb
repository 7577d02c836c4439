# What a Ruby application does, with WeChat's hosts written into it.
#
#   ruby nethttp.rb <appid> <secret>

require "json"
require "net/http"

def call(url)
  JSON.parse(Net::HTTP.get(URI(url)))
end

appid, secret = ARGV
token = call("https://api.weixin.qq.com/cgi-bin/token?grant_type=client_credential&appid=#{appid}&secret=#{secret}")
["https://api.weixin.qq.com", "http://file.api.weixin.qq.com"].each do |base|
  users = call("#{base}/cgi-bin/user/get?access_token=#{token["access_token"]}")
  abort users.to_s unless users["total"].to_i > 0
end
