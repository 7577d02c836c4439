'use strict';

// What an application does with node-easywechat, as it is but for its baseURL.
//
//	node node-easywechat.js <base URL> <appid> <secret> <URL that kills the token>
//
// It exits with 0 if the SDK has seen no failure.

const assert = require('node:assert');
const { OfficialAccount, FormData } = require('node-easywechat');

const [baseURL, appid, secret, kill] = process.argv.slice(2);

async function main() {
  for (const stable of [false, true]) {
    const app = new OfficialAccount({
      app_id: appid, secret, use_stable_access_token: stable,
      http: { baseURL: `${baseURL}/` },
    });
    app.setCache(memoryCache());
    const client = app.getClient();
    const ask = async (method, url, options) => {
      const answer = (await client.request(method, url, options)).toObject();
      assert(!answer.errcode, JSON.stringify(answer));
      return answer;
    };

    const users = await ask('get', '/cgi-bin/user/get');
    assert(users.total > 0, 'there are users');
    const touser = users.data.openid[0];
    for (const step of [
      async () => assert.strictEqual((await ask('get', '/cgi-bin/user/get')).total, users.total),
      async () => ask('post', '/cgi-bin/message/custom/send', { json: { touser, msgtype: 'text', text: { content: '你好' } } }),
    ]) {
      await step();
      assert((await fetch(kill, { method: 'POST' })).ok, 'the token was killed');
      await step();
    }
  }
}

function memoryCache() {
  const values = new Map();
  return {
    async fetch(key) { return values.get(key); },
    async get(key, defaultValue = null) { return values.get(key) ?? defaultValue; },
    async has(key) { return values.has(key); },
    async set(key, value) { values.set(key, value); return true; },
    async delete(key) { return values.delete(key); },
    async clear() { values.clear(); return true; },
  };
}

main().catch((err) => {
  console.error(err);
  process.exit(1);
});
