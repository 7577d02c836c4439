'use strict';

// What an application does with co-wechat-api, as it is but for its prefix.
//
//	node co-wechat-api.js <base URL> <appid> <secret> <URL that kills the token>
//
// It exits with 0 if the SDK has seen no failure.

const assert = require('node:assert');
const WechatAPI = require('co-wechat-api');

const [baseURL, appid, secret, kill] = process.argv.slice(2);

async function main() {
  const api = new WechatAPI(appid, secret);
  api.prefix = `${baseURL}/cgi-bin/`;
  let fetches = 0;
  const getAccessToken = api.getAccessToken;
  api.getAccessToken = function () {
    fetches++;
    return getAccessToken.call(this);
  };

  const users = await api.getFollowers();
  assert(users.total > 0, 'there are users');
  const openid = users.data.openid[0];

  const picture = Buffer.alloc(200_000, 'picture');
  let mediaId;
  for (const step of [
    async () => assert.strictEqual((await api.getFollowers()).total, users.total),
    async () => assert((await api.sendTemplate(openid, 'template', '', '#FF0000', { first: { value: '你好' } })).msgid),
    async () => assert.strictEqual((await api.sendText(openid, 'hello')).errcode, 0),
    async () => { mediaId = (await api.uploadMedia(picture, 'image', 'picture.png', 'image/png')).media_id; },
    async () => assert(picture.equals(await api.getMedia(mediaId))),
    async () => assert((await api.getLatestTicket()).ticket),
  ]) {
    await step();
    const killed = await fetch(kill, { method: 'POST' });
    assert(killed.ok, 'the token was killed');
    await step();
  }
  await Promise.all(Array.from({ length: 50 }, () => api.getFollowers()));
  assert.strictEqual(fetches, 1, `the SDK fetched ${fetches} tokens`);
}

main().catch((err) => {
  console.error(err);
  process.exit(1);
});
