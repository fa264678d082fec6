// Makes signed.json: requests signed by the clients' own code, as they arrive at
// a server. Run it where these packages are installed:
//
//	npm install @azure/communication-common@2.4.2 email-beta@npm:@azure/communication-email@1.0.0-beta.1
//	node …/testdata/sign.mjs > …/testdata/signed.json
import http from "node:http";
import https from "node:https";
import net from "node:net";
import path from "node:path";
import { createRequire } from "node:module";

const require = createRequire(path.join(process.cwd(), "x.js"));
const ga = require("@azure/communication-common");
const pipeline = createRequire(require.resolve("@azure/communication-common"))("@azure/core-rest-pipeline");
const beta = createRequire(require.resolve("email-beta"))("@azure/communication-common");
const coreHttp = createRequire(require.resolve("email-beta"))("@azure/core-http");
const nodeFetch = createRequire(require.resolve("email-beta"))("node-fetch");

const key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
Date.prototype.toUTCString = () => "Tue, 25 Oct 2022 03:21:27 GMT";

const got = [];
const server = http.createServer((req, res) => {
  const body = [];
  req.on("data", (b) => body.push(b));
  req.on("end", () => {
    const headers = {};
    for (const name of ["host", "authorization", "x-ms-date", "x-ms-content-sha256"]) headers[name] = req.headers[name];
    got.push({ method: req.method, target: req.url, headers, body: Buffer.concat(body).toString("base64") });
    res.end("{}");
  });
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const port = server.address().port;

// Whatever the URL's host and scheme, the request goes to the server above.
const connect = () => net.connect(port, "127.0.0.1");
const plain = Object.assign(new http.Agent(), { createConnection: connect });
const tls = Object.assign(new https.Agent(), { createConnection: connect });
const agent = (url) => (`${url.href ?? url}`.startsWith("https:") ? tls : plain);

const send = {
  // What 1.0.0 and 1.1.0 of the e-mail client and 1.5.0 of the phone client do.
  async node(method, url, body) {
    const request = pipeline.createPipelineRequest({ method, url, body, allowInsecureConnection: true });
    request.agent = agent(url);
    const client = pipeline.createDefaultHttpClient();
    await ga.createCommunicationAuthPolicy({ key }).sendRequest(request, (r) => client.sendRequest(r));
  },
  // The same in a browser, which sets Host itself.
  async fetch(method, url, body) {
    const request = pipeline.createPipelineRequest({ method, url, body, allowInsecureConnection: true });
    await ga.createCommunicationAuthPolicy({ key }).sendRequest(request, async (r) => {
      const { host, ...headers } = r.headers.toJSON();
      await (await fetch(url, { method, body, headers })).text();
    });
  },
  // What 1.0.0-beta.1 of the e-mail client does.
  async beta(method, url, body) {
    const resource = new coreHttp.WebResource(url, method, body);
    const next = { sendRequest: async (r) => (await nodeFetch(r.url, { method, body, headers: r.headers.rawHeaders(), agent })).text() };
    await beta.createCommunicationAuthPolicy({ key }).create(next, { log() {}, shouldLog: () => false }).sendRequest(resource);
  },
  // The same in a browser, over HTTP/1.1, which leaves a default port out of Host.
  async betaBrowser(method, url, body) {
    const resource = new coreHttp.WebResource(url, method, body);
    const next = {
      sendRequest: async (r) => {
        const { Host, ...headers } = r.headers.rawHeaders();
        await (await nodeFetch(r.url, { method, body, headers, agent })).text();
      },
    };
    await beta.createCommunicationAuthPolicy({ key }).create(next, { log() {}, shouldLog: () => false }).sendRequest(resource);
  },
};

const here = `http://127.0.0.1:${port}`;
const mail = JSON.stringify({ senderAddress: "shop@example.com", content: { subject: "Grüße ✓" } });
const enc = encodeURIComponent;
const version = "api-version=2021-10-01-preview";
const cases = [
  ["node", "GET", "/emails/F9168C5E-CEB2-4faa-B6BF-329BF39FA1E4/status?" + version],
  ["node", "GET", "//phoneNumbers/operations/search-my-operation-id?api-version=2022-12-01"],
  ["node", "POST", "/emails:send?api-version=2025-09-01", mail],
  ["node", "POST", "/emails:send?api-version=2025-09-01", ""],
  ["node", "DELETE", "/phoneNumbers/operations/a"],
  ["node", "GET", "/emails/operations/" + enc("a/b c+d%e") + "?" + version],
  ["node", "GET", "/emails/operations/" + enc("größe 漢字 😀") + "?" + version],
  ["node", "GET", "/emails/operations/a;b=c,d:e@f!g$h&i'j(k)l*m~n?" + version],
  ["node", "GET", "/a/./b/../c//d/%2e%2e/e?x=1"],
  ["node", "GET", "/a b\"c<d>e`f{g}h|i\\j^k[l]"],
  ["node", "GET", "/a%2Fb%2fc%25%2e%20"],
  ["node", "GET", "/p?"],
  ["node", "GET", "/p?#fragment"],
  ["node", "GET", "/p?a"],
  ["node", "GET", "/p?a&b=&=c&=&&d=1&"],
  ["node", "GET", "/p?a=1&a=2&b=x&a=3"],
  ["node", "GET", "/p?a=b=c==d&e=f?g/h:i@j"],
  ["node", "GET", "/p?a=b c+d%20e%2Bf"],
  ["node", "GET", "/p?a=*-._~!'()" + "&b=$,;:@/?[]{}|\\^`\"<>"],
  ["node", "GET", "/p?a=%zz&b=%&c=%4&d=%41%4a%4A&%=%25"],
  ["node", "GET", "/p?a=größe&漢=字&e=😀"],
  ["node", "GET", "/p?a=%ff&b=%e2%82&c=%e2%82x&d=%f0%9f%98&e=%f0%9f%98%80%c0%80&f=%ed%a0%80&g=%f4%90%80%80&h=%e2%82%e2%82"],
  ["node", "GET", "/p?a=%00%01%0a%0D%7f&b=%ef%bb%bfx&%EF%BB%BF=y"],
  ["node", "GET", "/p?filter=" + enc("from eq 'a@b.test' and since gt 2025-01-01T00:00:00+02:00")],
  ["node", "GET", "/chat/threads/" + enc("19:x@thread.v2") + "/readReceipts?maxPageSize=2&skip=0&api-version=2024-03-15-preview"],
  ["fetch", "GET", "/emails/" + enc("a b/ü'") + "/status?" + version + "&x=a b+c%2F'"],
  ["fetch", "POST", "//emails:send?api-version=2025-09-01&a&a=%e2%82", mail],
  ["beta", "GET", "/emails/" + enc("a b/ü+%") + "/status?" + version],
  ["beta", "GET", "/emails/" + enc("it's (a) *~!") + "/status?" + version],
  ["beta", "POST", "/emails:send?" + version, mail],
  ["beta", "GET", "//emails/a/status?" + version + "&q=" + enc("a b+c'd")],
  ["node", "GET", "http://resourcename.communication.azure.com/p?a=b c"],
  ["node", "GET", "http://RESOURCE.test:80/p?a=b c"],
  ["node", "GET", "https://resource.test:443/p"],
  ["node", "GET", "https://resource.test:80/p"],
  ["node", "GET", "http://[::1]:8080/p"],
  ["node", "GET", "http://[::1]/p"],
  ["node", "GET", "http://user:word@bücher.test/p"],
  ["beta", "GET", "https://resource.test:443/p?a=1"],
  ["betaBrowser", "GET", "https://resource.test:443/p?a=1"],
  ["betaBrowser", "GET", "http://resource.test:80/p?a=1"],
];
const out = [];
for (const [client, method, target, body] of cases) {
  const url = target.startsWith("/") ? here + target : target;
  got.length = 0;
  await send[client](method, url, body);
  if (got.length !== 1) throw new Error(`${client} ${url}: ${got.length} requests`);
  out.push({ client, url: target, ...got[0] });
}
console.log(JSON.stringify(out, null, 1));
server.close();
server.closeAllConnections();
process.exit(0);
