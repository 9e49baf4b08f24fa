// An OpenID provider that is not ours (https://github.com/panva/node-oidc-provider), and a frontend that signs in by it.
//
//     node provider.js MODULES OPTIONS
//
// MODULES is a folder with `node_modules`, made by `npm ci` of the package.json beside this file. OPTIONS is JSON:
//     client        {id, secret, redirect_uris}: how we are registered
//     accounts      {login: {email, verified}}; any password will do
//     in_id_token   whether the ID token tells the address; else the userinfo endpoint alone does
//     api           our API's URL: then there is a frontend, which shows pages and passes on what is for the API
// Prints `issuer URL` and `frontend URL`, and ends when its standard input does.
import http from 'node:http';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { readFileSync } from 'node:fs';

const [modules, json] = process.argv.slice(2);
const options = JSON.parse(json);
const module = createRequire(`${modules}/package.json`).resolve('oidc-provider');
const { default: Provider } = await import(pathToFileURL(module));

const listen = (server) => new Promise((done) => server.listen(0, '127.0.0.1', () => done(server.address().port)));

let frontend;
if (options.api) {
  const page = readFileSync(new URL('frontend.html', import.meta.url));
  const api = new URL(options.api);
  const server = http.createServer((request, response) => {
    if (request.url.startsWith('/app')) {
      response.setHeader('content-type', 'text/html; charset=utf-8');
      response.end(page);
      return;
    }
    const { method, url: path, headers } = request;
    const onward = http.request({ host: api.hostname, port: api.port, method, path, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.on('error', () => response.destroy());
    request.pipe(onward);
  });
  // By another name than the provider's: to the browser these are two sites.
  frontend = `http://localhost:${await listen(server)}`;
}

const server = http.createServer();
const issuer = `http://127.0.0.1:${await listen(server)}`;
const { id, secret, redirect_uris } = options.client;
const provider = new Provider(issuer, {
  clients: [{ client_id: id, client_secret: secret, redirect_uris: [...redirect_uris, ...(frontend ? [`${frontend}/app/back`] : [])] }],
  claims: { openid: ['sub'], email: ['email', 'email_verified'] },
  conformIdTokenClaims: !options.in_id_token,
  cookies: { keys: ['only for tests'] },
  pkce: { required: () => true, methods: ['S256'] },
  findAccount: (_, login) => {
    const account = options.accounts[login];
    return account && { accountId: login, claims: () => ({ sub: login, email: account.email, email_verified: account.verified }) };
  },
});
server.on('request', provider.callback());

console.log(`issuer ${issuer}`);
console.log(`frontend ${frontend ?? '-'}`);
process.stdin.resume().on('end', () => process.exit());
