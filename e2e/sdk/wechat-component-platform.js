'use strict';

// What an application of a third-party platform does with wechat-component, as it
// is but for its prefix and endpoint: see platform.js. It has no handler of pushes,
// and its logins have WeChat's address in their code.

const { promisify } = require('node:util');
const Component = require('wechat-component');

require('./platform')(async ({ baseURL, appid, secret, merchant }) => {
  const component = new Component(appid, secret, (callback) => callback(null, 'kept by the proxy'));
  component.prefix = `${baseURL}/cgi-bin/component/`;
  let token = {};
  const api = component.getAPI(merchant, (callback) => callback(null, token), (saved, callback) => {
    token = saved;
    callback(null);
  });
  api.endpoint = baseURL;
  const call = async (object, method, ...args) => {
    const answer = await promisify(object[method].bind(object))(...args);
    answers.push(answer);
    return answer;
  };
  const answers = [];
  return {
    preAuthCode: async () => (await call(component, 'createPreAuthCode')).pre_auth_code,
    async queryAuth(code) {
      const info = (await call(component, 'queryAuth', code)).authorization_info;
      token = {
        accessToken: info.authorizer_access_token,
        expireTime: Date.now() + (info.expires_in - 10) * 1000,
        refreshToken: info.authorizer_refresh_token,
      };
      return info.authorizer_appid;
    },
    info: async () => (await call(component, 'getAuthorizerInfo', merchant)).authorization_info.authorizer_appid,
    users: async () => (await call(api, 'getFollowers')).total,
    forget() { token = { ...token, expireTime: 0 }; },
    ticket: () => null,
    held: () => [answers, token, component.token, api.token],
  };
});
