"""What a Python application does, with WeChat's hosts written into it.

    python3 urlopen.py <appid> <secret>
"""

import json
import sys
import urllib.request


def call(url, data=None):
    with urllib.request.urlopen(url, data, timeout=20) as answer:
        return json.load(answer)


appid, secret = sys.argv[1:]
token = call(f"https://api.weixin.qq.com/cgi-bin/token?grant_type=client_credential&appid={appid}&secret={secret}")
for base in "https://api.weixin.qq.com", "http://file.api.weixin.qq.com":
    users = call(f"{base}/cgi-bin/user/get?access_token={token['access_token']}")
    assert users["total"] > 0, users
