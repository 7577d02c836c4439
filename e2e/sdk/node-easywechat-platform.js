'use strict';

// What an application of a third-party platform does with node-easywechat, as it
// is but for its baseURL: see platform.js.

const { OpenPlatform, ServerRequest } = require('node-easywechat');

require('./platform')(async ({ baseURL, appid, secret, token, aesKey, merchant, port }) => {
  const cache = memoryCache();
  const create = () => {
    const platform = new OpenPlatform({ app_id: appid, secret, token, aes_key: aesKey, http: { baseURL } });
    platform.setCache(cache);
    return platform;
  };
  const platform = create();
  if (!port) {
    platform.getVerifyTicket().getTicket = async () => 'kept by the proxy';
  }
  let code, redeemed, refreshToken;
  const answers = [];
  const noted = (answer) => {
    answers.push(answer);
    return answer;
  };
  return {
    // Each push needs a server of its own: one that has served goes on checking
    // with the signature that came first.
    async onPush(req) {
      const server = create().setRequest(await ServerRequest.createFromIncomingMessage(req)).getServer();
      server.handleAuthorized(async (message, next) => {
        code = message.AuthorizationCode;
        redeemed = await platform.getAuthorization(code);
        return next(message);
      });
      server.handleAuthorizeUpdated((message, next) => {
        code = message.AuthorizationCode;
        return next(message);
      });
      return (await server.serve()).getBody().toString();
    },
    code: () => code,
    preAuthCode: async () => noted(await platform.createPreAuthorizationCode()).pre_auth_code,
    async queryAuth(code) {
      const authorization = redeemed || await platform.getAuthorization(code);
      redeemed = null;
      noted(authorization.toObject());
      refreshToken = authorization.getRefreshToken();
      return authorization.getAppId();
    },
    async info() {
      const answer = await platform.getClient().request('post', '/cgi-bin/component/api_get_authorizer_info', {
        json: { component_appid: appid, authorizer_appid: merchant },
      });
      return noted(answer.toObject()).authorization_info.authorizer_appid;
    },
    async users() {
      const account = await platform.getOfficialAccountWithRefreshToken(merchant, refreshToken);
      return (await account.getClient().request('get', '/cgi-bin/user/get')).toObject().total;
    },
    forget: () => cache.forget('authorizer_access_token'),
    async login(code) {
      const app = await platform.getMiniAppWithRefreshToken(merchant, refreshToken);
      return noted(await app.getUtils().code2Session(code)).openid;
    },
    ticket: () => cache.entries().find(([key]) => key.includes('verify_ticket'))?.[1],
    held: () => [answers, cache.entries().filter(([key]) => !key.includes('verify_ticket'))],
  };
});

function memoryCache() {
  const values = new Map();
  return {
    async fetch(key) { return values.get(key); },
    async get(key, defaultValue = null) { return values.get(key) ?? defaultValue; },
    async has(key) { return values.has(key); },
    async set(key, value) { values.set(key, value); return true; },
    async delete(key) { return values.delete(key); },
    async clear() { values.clear(); return true; },
    entries: () => [...values],
    forget: (part) => [...values.keys()].filter((key) => key.includes(part)).forEach((key) => values.delete(key)),
  };
}
