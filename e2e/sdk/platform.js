'use strict';

// What an application of a third-party platform does, with whichever SDK.
//
//	node <SDK>-platform.js '{"baseURL":…,"appid":…,"secret":…,"token":…,"aesKey":…,"merchant":…,"control":…,"port":…,"deaths":…}'
//
// appid, secret, token and aesKey are the platform's, and merchant is the appid of
// an account that is about to authorise it. Below control the sandbox is told what
// to do with the platform. Pushes come to port if the SDK has a handler for them;
// where it is 0, none come. Without deaths, all tokens are left alone.
//
// It exits with 0 if the SDK has seen no failure, and prints what it holds at its
// end: the ticket, and everything else.

const assert = require('node:assert');
const http = require('node:http');

const deaths = [
  (merchant) => `/authorizers/${merchant}/revoke`,
  (merchant) => `/authorizers/${merchant}/expire`,
  () => '/revoke',
  () => '/expire',
];

// run does everything with an SDK, which is
//
//	onPush(req)                returns the body of the answer; missing if it has no handler.
//	                           It redeems the code of a first authorisation at once
//	code()                     the authorisation code that was pushed
//	preAuthCode()              a code that an authorisation begins with
//	queryAuth(code)            redeems an authorisation code; the SDK keeps the tokens
//	info()                     the merchant's authorizer_appid
//	users()                    the number of the merchant's users
//	forget()                   drops the merchant's token, so that the SDK fetches another
//	login(code)                the openid; missing if WeChat's address is in its code
//	ticket(), held()           what it holds
async function run(connect) {
  const options = JSON.parse(process.argv[2]);
  const { merchant, port } = options;
  const sdk = await connect(options);
  const control = async (action, body) => {
    const answer = await fetch(options.control + action, { method: 'POST', body: body && JSON.stringify(body) });
    assert(answer.ok, `${action}: ${answer.status}`);
    return answer.json();
  };
  const server = port && await listen(sdk, port);
  let logins = 0;
  const useAll = async () => {
    assert(await sdk.preAuthCode(), 'there is a pre_auth_code');
    assert.strictEqual(await sdk.info(), merchant);
    assert(await sdk.users() > 0, 'the merchant has users');
    await sdk.forget();
    assert(await sdk.users() > 0, 'the merchant has users with a token that the SDK has fetched itself');
    if (sdk.login) assert(await sdk.login(`${merchant}${++logins}`), 'there is an openid');
  };
  // The platform's token dies before the code is redeemed, which is good for once.
  const authorize = async (death) => {
    const { authorization_code: code, pushed } = await control('/authorize', { appid: merchant });
    assert(pushed.taken, `the event was taken: ${pushed.answer}`);
    if (death) await control(death);
    assert.strictEqual(port ? sdk.code() : code, code);
    assert.strictEqual(await sdk.queryAuth(code), merchant);
  };

  assert((await control('/push')).taken, 'the ticket was taken');
  if (!options.deaths) {
    await authorize();
    await useAll();
  } else {
    await authorize();
    await authorize('/revoke');
    await authorize('/expire');
    for (const death of deaths) {
      await control(death(merchant));
      await useAll();
    }
    await control('/rotate_tickets');
    assert((await control('/push')).taken, 'the next ticket was taken');
    await control('/revoke');
    await useAll();
    // All at once, with neither token.
    await control('/revoke');
    await control(`/authorizers/${merchant}/revoke`);
    const all = await Promise.all(Array.from({ length: 20 }, () => sdk.users()));
    assert(all.every((n) => n > 0), 'all have users');
    // The refresh token that everybody has kept is no longer the merchant's.
    await control(`/authorizers/${merchant}/rotate_refresh_token`);
    await control(`/authorizers/${merchant}/expire`);
    await useAll();
  }
  server && server.close();
  console.log(JSON.stringify({ ticket: sdk.ticket(), held: sdk.held() }));
}

// listen gives an SDK what is pushed.
function listen(sdk, port) {
  const server = http.createServer(async (req, res) => {
    try {
      res.end(await sdk.onPush(req));
    } catch (err) {
      res.statusCode = 500;
      res.end(String(err.stack));
    }
  });
  return new Promise((resolve) => { server.listen(port, '127.0.0.1', () => resolve(server)); });
}

module.exports = (connect) => run(connect).catch((err) => {
  console.error(err);
  process.exit(1);
});
