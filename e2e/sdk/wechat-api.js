'use strict';

// What an application does with wechat-api, as it is but for its endpoint.
//
//	node wechat-api.js <base URL> <appid> <secret> <URL that kills the token>
//
// It exits with 0 if the SDK has seen no failure.

const assert = require('node:assert');
const { promisify } = require('node:util');
const API = require('wechat-api');

const [baseURL, appid, secret, kill] = process.argv.slice(2);

async function main() {
  const api = new API(appid, secret);
  api.endpoint = baseURL;
  api.fileServerPrefix = `${baseURL}/cgi-bin/`;
  const call = (name, ...args) => promisify(api[name].bind(api))(...args);

  const users = await call('getFollowers');
  assert(users.total > 0, 'there are users');
  const openid = users.data.openid[0];
  for (const step of [
    async () => assert.strictEqual((await call('getFollowers')).total, users.total),
    async () => assert.strictEqual((await call('sendText', openid, '你好')).errcode, 0),
    async () => assert((await call('getLatestTicket')).ticket),
  ]) {
    await step();
    assert((await fetch(kill, { method: 'POST' })).ok, 'the token was killed');
    await step();
  }
}

main().catch((err) => {
  console.error(err);
  process.exit(1);
});
