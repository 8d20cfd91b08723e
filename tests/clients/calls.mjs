// An npm package of the SDK, driven by tests/harness/sdk.py: a call comes as a line of JSON, its outcome is a line.
// {way: ["git", "repos", "list"], args: [...]} calls a method of the client; way may begin with a repository's or an
// identity's id: {repo: ID, way: ["commits", "list"], ...}. Bytes come back as {base64}.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const { PACKAGE, MODULES, URL: baseUrl, KEY: apiKey, TOKEN: accessToken } = process.env;
const { Freestyle, Errors } = await import(pathToFileURL(`${MODULES}/${PACKAGE}/index.mjs`));
const client = new Freestyle({ baseUrl, ...(apiKey ? { apiKey } : { accessToken }) });

function start({ repo, identity }) {
  if (repo) return client.git.repos.ref({ repoId: repo });
  return identity ? client.identities.ref({ identityId: identity }) : client;
}

async function call({ way, args = [], ...where }) {
  let object = start(where);
  for (const name of way.slice(0, -1)) object = object[name];
  const value = await object[way.at(-1)](...args);
  if (value instanceof ArrayBuffer) return { base64: Buffer.from(value).toString("base64") };
  if (value instanceof Response) return { status: value.status, body: await value.json() };
  // Of what the SDK makes, its plain members.
  return JSON.parse(JSON.stringify(value, (_, v) => (v && typeof v === "object" && "apiClient" in v ? undefined : v)));
}

// The package's own class, by identity and not by its name.
const classOf = (e) => Object.entries(Errors).find(([, c]) => c.code && e.constructor === c)?.[0] ?? null;

for await (const line of createInterface({ input: process.stdin })) {
  let outcome;
  try {
    outcome = { value: await call(JSON.parse(line)) };
  } catch (e) {
    const { name, message, body, traceId } = e;
    const { code, statusCode: status } = e.constructor;
    outcome = { error: { name, message, body, traceId, class: classOf(e), code, status } };
  }
  console.log(JSON.stringify(outcome));
}
