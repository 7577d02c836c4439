'use strict';

// What an application of a third-party platform does with es-wechat-open-api, as it
// is but for its prefixes: see platform.js. It has no handler of pushes, and its
// logins have WeChat's address in their code.

const { API, ComponentAPI } = require('es-wechat-open-api');

require('./platform')(async ({ baseURL, appid, secret, merchant }) => {
  let componentToken, token = {};
  const componentApi = new ComponentAPI({
    componentAppId: appid,
    componentAppSecret: secret,
    getComponentTicket: async () => 'kept by the proxy',
    getComponentToken: async () => componentToken,
    saveComponentToken: async (saved) => { componentToken = saved; },
  });
  const api = new API({
    componentApi,
    authorizerAppId: merchant,
    getToken: async () => token,
    saveToken: async (accessToken, refreshToken = token.refreshToken) => { token = { accessToken, refreshToken }; },
  });
  componentApi.prefix = api.prefix = `${baseURL}/cgi-bin/`;
  const answers = [];
  const noted = (answer) => {
    answers.push(answer);
    return answer;
  };
  return {
    preAuthCode: async () => noted(await componentApi.getPreAuthCode()).pre_auth_code,
    async queryAuth(code) {
      const info = noted(await componentApi.getAuthorizationInfo(code)).authorization_info;
      token = {
        accessToken: { accessToken: info.authorizer_access_token, expireTime: Date.now() + info.expires_in * 1000 },
        refreshToken: info.authorizer_refresh_token,
      };
      return info.authorizer_appid;
    },
    info: async () => noted(await componentApi.getAuthorizerInfo(merchant)).authorization_info.authorizer_appid,
    users: async () => noted(await api.getFollowers()).total,
    forget() { token = { refreshToken: token.refreshToken }; },
    ticket: () => null,
    held: () => [answers, componentToken, token],
  };
});
