'use strict';

// What an application of a WeCom corporation does with node-easywechat, as it is
// but for its baseURL.
//
//	node node-easywechat-work.js <base URL> <corpid> <secret> <URL that kills the token>
//
// It exits with 0 if the SDK has seen no failure.

const assert = require('node:assert');
const { Work } = require('node-easywechat');

const [baseURL, corpid, secret, kill] = process.argv.slice(2);

async function main() {
  const app = new Work({ corp_id: corpid, secret, http: { baseURL: `${baseURL}/` } });
  const values = new Map();
  app.setCache({
    async fetch(key) { return values.get(key); },
    async get(key, defaultValue = null) { return values.get(key) ?? defaultValue; },
    async has(key) { return values.has(key); },
    async set(key, value) { values.set(key, value); return true; },
    async delete(key) { return values.delete(key); },
    async clear() { values.clear(); return true; },
  });
  const client = app.getClient();
  const ask = async (method, url, options) => {
    const answer = (await client.request(method, url, options)).toObject();
    assert(!answer.errcode, JSON.stringify(answer));
    return answer;
  };
  for (const step of [
    async () => assert.strictEqual((await ask('get', '/cgi-bin/user/get', { params: { userid: 'zhangsan' } })).userid, 'zhangsan'),
    async () => ask('post', '/cgi-bin/message/send', {
      json: { touser: 'zhangsan', agentid: 1000002, msgtype: 'text', text: { content: '你好' } },
    }),
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
