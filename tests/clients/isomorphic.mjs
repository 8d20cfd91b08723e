// isomorphic-git under Node: node isomorphic.mjs TEST. REPO is the repository's URL, TOKEN the password, TMP an own folder.
import assert from "node:assert/strict";
import fs from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.MODULES}/none.js`);
const git = require("isomorphic-git");
const http = require("isomorphic-git/http/node");
const { REPO: url, TOKEN: password, TMP } = process.env;
const onAuth = () => ({ username: "x-access-token", password });
const onAuthFailure = () => ({ cancel: true });
const author = { name: "Iso", email: "iso@example.com" };
const common = (dir) => ({ fs, http, dir, onAuth, onAuthFailure });

async function commitFile(dir, name, text) {
  fs.writeFileSync(`${dir}/${name}`, text);
  await git.add({ fs, dir, filepath: name });
  return git.commit({ fs, dir, author, message: `adds ${name}` });
}

const tests = {
  async round() {
    const dir = `${TMP}/iso`;
    await git.clone({ ...common(dir), url });
    assert.equal((await git.log({ fs, dir })).length, 2);
    assert.equal(fs.readFileSync(`${dir}/d1/f1`, "utf8"), "changed");
    const oid = await commitFile(dir, "from-isomorphic", "hello\n");
    const pushed = await git.push({ ...common(dir), url, ref: "main" });
    assert.equal(pushed.ok, true, JSON.stringify(pushed));
    await git.branch({ fs, dir, ref: "side" });
    assert.equal((await git.push({ ...common(dir), url, ref: "side" })).ok, true);
    const refs = await git.listServerRefs({ http, onAuth, url, protocolVersion: 2 });
    assert.equal(refs.find((r) => r.ref === "refs/heads/main").oid, oid);

    const shallow = `${TMP}/shallow`;
    await git.clone({ ...common(shallow), url, depth: 1, singleBranch: true, ref: "main" });
    assert.equal((await git.log({ fs, dir: shallow })).length, 1);
    await git.fetch({ ...common(shallow), url, depth: 10, ref: "main", singleBranch: true });
    assert.equal((await git.log({ fs, dir: shallow })).length, 3);
    await git.push({ ...common(dir), url, ref: "main", remoteRef: "refs/heads/gone" });
    await git.push({ ...common(dir), url, ref: "main", remoteRef: "refs/heads/gone", delete: true });
    const after = await git.listServerRefs({ http, onAuth, url });
    assert.deepEqual(after.map((r) => r.ref).filter((r) => r.startsWith("refs/heads/")), ["refs/heads/main", "refs/heads/side"]);
  },

  async refused() {
    const dir = `${TMP}/refused`;
    await git.clone({ ...common(dir), url });
    await commitFile(dir, "more", "x");
    await assert.rejects(git.push({ ...common(dir), url, ref: "main" }), (e) => e.code === "HttpError" && e.data.statusCode === 403);
    await assert.rejects(git.clone({ fs, http, dir: `${TMP}/none`, url, onAuth: () => ({ username: "x", password: "wrong" }), onAuthFailure }),
      (e) => e.code === "UserCanceledError" || e.data?.statusCode === 401);
  },
};

await tests[process.argv[2]]();
console.log("done");
