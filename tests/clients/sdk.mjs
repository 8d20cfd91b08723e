// The freestyle SDK against a server: node sdk.mjs TEST. Prints "done" at the end, throws where something is not right.
import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";

const { Freestyle } = await import(pathToFileURL(`${process.env.MODULES}/freestyle/index.mjs`));
const { URL: baseUrl, KEY: apiKey, ACCOUNT: accountId } = process.env;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const client = () => new Freestyle({ apiKey, baseUrl });

// The error that a call throws, whose class and text carry the code, and whose trace id is the reply's.
async function failure(promise, code) {
  try {
    await promise;
  } catch (e) {
    if (e instanceof assert.AssertionError) throw e;
    assert.ok(e.message.startsWith(`${code}: `), `${code}, not ${e.message}`);
    assert.equal(e.body.code, code);
    assert.match(e.traceId, /^[0-9a-z-]+$/);
    assert.ok(e.message.includes(`TraceId: ${e.traceId}`), e.message);
    assert.ok(!e.message.includes("Unknown error code"), e.message);
    return e;
  }
  assert.fail(`${code} was expected`);
}

const tests = {
  async whoami() {
    assert.deepEqual(await client().whoami(), { accountId });
  },

  async environment() {
    assert.deepEqual(await new Freestyle().whoami(), { accountId });
  },

  async repositories() {
    const f = client();
    assert.deepEqual(await f.git.repos.list(), { repositories: [], total: 0, offset: 0 });
    const made = [];
    for (let i = 0; i < 12; i++) {
      const { repoId, repo } = await f.git.repos.create({ name: `r${i}`, public: i % 2 === 0, unknown: [1] });
      assert.match(repoId, UUID);
      assert.equal(repo.repoId, repoId);
      made.unshift(repoId);
    }
    const first = await f.git.repos.list();
    assert.equal(first.total, 12);
    assert.deepEqual(first.repositories.map((r) => r.id), made.slice(0, 10));
    assert.deepEqual([first.repositories[0].name, first.repositories[0].visibility], ["r11", "private"]);
    assert.deepEqual([first.repositories[0].branches, first.repositories[0].tags], [{}, {}]);
    const second = await f.git.repos.list({ limit: 10, cursor: "10" });
    assert.deepEqual(second.repositories.map((r) => r.id), made.slice(10));
    assert.equal(second.offset, 10);
    await failure(f.git.repos.list({ cursor: "rubbish" }), "GIT_INVALID_REQUEST");
    assert.deepEqual(await f.git.repos.delete({ repoId: made[0] }), {});
    const gone = await failure(f.git.repos.delete({ repoId: made[0] }), "REPOSITORY_NOT_FOUND");
    assert.equal(gone.body.repoId, made[0]);
    assert.equal((await f.git.repos.list()).total, 11);
  },

  async defaultBranch() {
    const { repo } = await client().git.repos.create({ defaultBranch: "trunk" });
    assert.deepEqual(await repo.branches.getDefaultBranch(), { defaultBranch: "trunk" });
    assert.deepEqual(await repo.branches.setDefaultBranch({ defaultBranch: "feat/x" }), {});
    assert.deepEqual(await repo.branches.getDefaultBranch(), { defaultBranch: "feat/x" });
    await failure(repo.branches.setDefaultBranch({ defaultBranch: "a..b" }), "GIT_INVALID_REQUEST");
  },

  async identities() {
    const f = client();
    const { identityId, identity } = await f.identities.create();
    assert.match(identityId, UUID);
    assert.deepEqual(await f.identities.list(), { identities: [{ id: identityId, managed: false }], total: 1, offset: 0 });
    const a = await identity.tokens.create();
    const b = await f.identities.ref({ identityId }).tokens.create();
    assert.match(a.token, /^[A-Za-z0-9_-]+$/);
    assert.deepEqual((await identity.tokens.list()).tokens.map((t) => t.id), [a.tokenId, b.tokenId]);
    assert.deepEqual(await identity.tokens.revoke({ tokenId: a.tokenId }), {});
    assert.deepEqual((await identity.tokens.list()).tokens.map((t) => t.id), [b.tokenId]);
    await failure(identity.tokens.revoke({ tokenId: a.tokenId }), "NOT_FOUND");
    assert.deepEqual(await f.identities.delete({ identityId }), {});
    await failure(f.identities.delete({ identityId }), "IDENTITY_NOT_FOUND");
    await failure(identity.tokens.create(), "IDENTITY_NOT_FOUND");
  },

  async grants() {
    const f = client();
    const { repoId } = await f.git.repos.create({ name: "granted" });
    const { identityId, identity } = await f.identities.create();
    const git = identity.permissions.git;
    assert.deepEqual(await git.get({ repoId }), { identity: identityId, repo: repoId, accessLevel: null });
    assert.deepEqual(await git.grant({ repoId, permission: "read" }), {});
    await failure(git.grant({ repoId, permission: "write" }), "PERMISSION_ALREADY_EXISTS");
    assert.equal((await git.get({ repoId })).accessLevel, "read");
    assert.deepEqual(await git.update({ repoId, permission: "write" }), {});
    const { repositories, total } = await git.list();
    assert.equal(total, 1);
    assert.deepEqual(repositories, [{ id: repoId, name: "granted", accountId, permissions: "write", visibility: "private" }]);
    assert.deepEqual(await git.revoke({ repoId }), {});
    await failure(git.revoke({ repoId }), "PERMISSION_NOT_FOUND");
    await failure(git.get({ repoId: "nonsense" }), "GIT_REPOSITORY_NOT_FOUND");
  },

  async errors() {
    const f = client();
    const foreign = await failure(f.git.repos.delete({ repoId: process.env.FOREIGN }), "REPOSITORY_NOT_FOUND");
    assert.equal(foreign.body.repoId, process.env.FOREIGN);
    const wrong = new Freestyle({ apiKey: "wrk_wrong", baseUrl });
    const e = await failure(wrong.git.repos.list(), "UNAUTHORIZED_ERROR");
    assert.equal(e.body.route, "/git/v1/repo");
    assert.ok("reason" in e.body);
    await assert.rejects(wrong.whoami(), /401/);
    const broken = f.git.repos.ref({ repoId: (await f.git.repos.create({})).repoId });
    await assert.rejects(broken.branches.create({ branchName: "x" }));
    const other = await f.fetch("/nowhere");
    assert.equal(other.status, 404);
    assert.equal((await other.json()).code, "NOT_FOUND");
    const method = await f.fetch("/git/v1/repo", { method: "PATCH" });
    assert.equal(method.status, 405);
    assert.equal(method.headers.get("allow")?.includes("POST"), true);
  },

  async accessToken() {
    const f = client();
    const { repoId } = await f.git.repos.create({ name: "seen" });
    await f.git.repos.create({ name: "unseen" });
    const { identityId, identity } = await f.identities.create();
    const { token } = await identity.tokens.create();
    await identity.permissions.git.grant({ repoId, permission: "write" });
    const mine = new Freestyle({ accessToken: token, baseUrl });
    assert.deepEqual(await mine.whoami(), { accountId, identityId });
    const list = await mine.git.repos.list();
    assert.deepEqual([list.total, list.repositories.map((r) => r.id)], [1, [repoId]]);
    assert.deepEqual(await mine.git.repos.ref({ repoId }).branches.getDefaultBranch(), { defaultBranch: "main" });
    await failure(mine.identities.list(), "FORBIDDEN");
    await failure(mine.git.repos.create({}), "FORBIDDEN");
    await failure(mine.git.repos.delete({ repoId }), "GIT_REPOSITORY_ACCESS_DENIED");
  },
};

await tests[process.argv[2]]();
console.log("done");
