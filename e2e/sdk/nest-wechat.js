'use strict';

// What an application does with nest-wechat, whose hosts are written into it.
//
//	node nest-wechat.js <appid> <secret> <URL that kills the token>
//
// It exits with 0 if the SDK has seen no failure.

const assert = require('node:assert');
require('reflect-metadata');
const { WeChatService } = require('nest-wechat');

const [appId, secret, kill] = process.argv.slice(2);

async function main() {
  const service = new WeChatService({ appId, secret });
  for (const step of ['first', 'after its death']) {
    const ticket = await service.getJSApiTicket(appId, secret);
    assert.strictEqual(ticket.errcode, 0, step);
    assert(ticket.ticket, step);
    const killed = await fetch(kill, { method: 'POST' });
    assert.strictEqual(killed.status, 200);
  }
}

main().catch((err) => {
  console.error(err);
  process.exit(1);
});
