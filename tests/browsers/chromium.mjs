// isomorphic-git and plain fetch in a page of another origin. Throws where something is not right.
import assert from "node:assert/strict";
import fs from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";

const { MODULES, CHROMIUM, WARREN, REPO, REPO_ID, TOKEN, READER } = process.env;
const require = createRequire(`${MODULES}/none.js`);
const { chromium } = require("playwright-core");

// The page's own origin: a server of this script, with nothing but the page and the libraries.
const scripts = {
  "/git.js": "isomorphic-git/index.umd.min.js",
  "/http.js": "isomorphic-git/http/web/index.umd.js",
  "/fs.js": "@isomorphic-git/lightning-fs/dist/lightning-fs.min.js",
};
const page = `<!doctype html><title>x</title>${Object.keys(scripts).map((s) => `<script src="${s}"></script>`).join("")}`;
const origin = http.createServer((req, res) => {
  const script = scripts[req.url];
  res.writeHead(req.url === "/" || script ? 200 : 404, { "Content-Type": script ? "text/javascript" : "text/html" });
  res.end(req.url === "/" ? page : script ? fs.readFileSync(`${MODULES}/${script}`) : "");
});
await new Promise((done) => origin.listen(0, "127.0.0.1", done));

const browser = await chromium.launch({
  executablePath: CHROMIUM,
  headless: true,
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"],
});
try {
  const tab = await browser.newPage();
  await tab.goto(`http://127.0.0.1:${origin.address().port}/`);

  const seen = await tab.evaluate(async ({ WARREN, REPO_ID, TOKEN }) => {
    const look = async (path, init) => {
      const reply = await fetch(WARREN + path, init);
      return { status: reply.status, trace: reply.headers.get("x-freestyle-trace-id"), body: await reply.text() };
    };
    const token = { "X-Freestyle-Identity-Access-Token": TOKEN, "X-Freestyle-SDK-Version": "0.1.0" };
    return {
      whoami: await look("/auth/v1/whoami", { headers: token }),
      bearer: await look(`/git/v1/repo/${REPO_ID}`, { headers: { Authorization: `Bearer ${TOKEN}` } }),
      wrong: await look("/auth/v1/whoami", { headers: { Authorization: "Bearer wrong" } }),
      nowhere: await look("/nowhere", { headers: token }),
      forbidden: await look("/git/v1/repo", { method: "POST", headers: { ...token, "Content-Type": "application/json" }, body: "{}" }),
      large: await look("/identity/v1/identities/x/tokens", { method: "POST", headers: { ...token, "Content-Type": "application/json" },
        body: " ".repeat(100000) }),
      health: await look("/healthz"),
    };
  }, { WARREN, REPO_ID, TOKEN });
  const statuses = Object.fromEntries(Object.entries(seen).map(([k, r]) => [k, r.status]));
  assert.deepEqual({ ...statuses, large: undefined }, { whoami: 200, bearer: 200, wrong: 401, nowhere: 404, forbidden: 403,
    large: undefined, health: 200 });
  assert.ok([403, 413].includes(statuses.large));
  for (const [name, reply] of Object.entries(seen)) assert.match(reply.trace ?? "", /^[0-9a-z-]+$/, `the page sees the trace id of ${name}`);
  console.log("fetch: every reply can be read from another origin");

  const got = await tab.evaluate(async ({ REPO, TOKEN, READER }) => {
    const fs = new LightningFS("test");
    const http = GitHttp;
    const auth = (password) => ({ onAuth: () => ({ username: "x-access-token", password }), onAuthFailure: () => ({ cancel: true }) });
    const all = { fs, http, dir: "/clone", ...auth(TOKEN) };
    await git.clone({ ...all, url: REPO });
    const log = await git.log({ fs, dir: "/clone" });
    const text = await fs.promises.readFile("/clone/d1/f1", "utf8");
    await fs.promises.writeFile("/clone/from-the-browser", "hello from a page\n");
    await git.add({ fs, dir: "/clone", filepath: "from-the-browser" });
    const oid = await git.commit({ fs, dir: "/clone", author: { name: "B", email: "b@example.com" }, message: "from a page" });
    let refused = null;
    try {
      await git.push({ ...all, ...auth(READER), url: REPO, ref: "main" });
    } catch (e) {
      refused = e.data?.statusCode ?? String(e);
    }
    const pushed = await git.push({ ...all, url: REPO, ref: "main" });
    const refs = await git.listServerRefs({ http, url: REPO, protocolVersion: 2, ...auth(TOKEN) });
    await git.clone({ fs, http, dir: "/shallow", url: REPO, depth: 1, singleBranch: true, ...auth(READER) });
    const shallow = await git.log({ fs, dir: "/shallow" });
    return { commits: log.length, text, oid, refused, ok: pushed.ok, main: refs.find((r) => r.ref === "refs/heads/main").oid, shallow: shallow.map((c) => c.oid) };
  }, { REPO, TOKEN, READER });
  assert.equal(got.commits, 2);
  assert.equal(got.text, "changed\n");
  assert.equal(got.refused, 403);
  assert.equal(got.ok, true);
  assert.equal(got.main, got.oid);
  assert.deepEqual(got.shallow, [got.oid]);
  console.log("isomorphic-git: clone, push, refusal, listing, shallow clone");
} finally {
  await browser.close();
  origin.close();
}
