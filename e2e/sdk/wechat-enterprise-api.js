'use strict';

// What an application of a WeCom corporation does with wechat-enterprise-api, as
// it is but for its prefix.
//
//	node wechat-enterprise-api.js <base URL> <corpid> <secret> <URL that kills the token>
//
// It exits with 0 if the SDK has seen no failure.

const assert = require('node:assert');
const { promisify } = require('node:util');
const API = require('wechat-enterprise-api');

const [baseURL, corpid, secret, kill] = process.argv.slice(2);

async function main() {
  const api = new API(corpid, secret, '1000002');
  api.prefix = `${baseURL}/cgi-bin/`;
  const getUser = promisify(api.getUser.bind(api));
  const send = promisify(api.send.bind(api));
  for (const step of [
    async () => assert.strictEqual((await getUser('zhangsan')).userid, 'zhangsan'),
    async () => send({ touser: 'zhangsan' }, { msgtype: 'text', text: { content: '你好' } }),
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
