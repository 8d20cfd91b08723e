// isomorphic-git under Node, driven by tests/clients/rounds.py: verbs and arguments come as lines split by tabs, an answer is a line.
import fs from "node:fs";
import { createRequire } from "node:module";
import readline from "node:readline";

const require = createRequire(`${process.env.MODULES}/none.js`);
const git = require("isomorphic-git");
const http = require("isomorphic-git/http/node");

/** The URL without its login, and the answers to a challenge. */
function remote(text) {
  const url = new URL(text);
  const { username, password } = url;
  url.username = url.password = "";
  return { url: url.href, onAuth: () => ({ username, password }), onAuthFailure: () => ({ cancel: true }) };
}
const split = (spec) => [spec.startsWith("+"), ...spec.replace(/^\+/, "").split(":")];

const verbs = {
  async clone(url, dir, depth) {
    await git.clone({ fs, http, dir, ...remote(url), ...(depth !== "0" && { depth: Number(depth), singleBranch: true }) });
    await git.setConfig({ fs, dir, path: "remote.origin.url", value: remote(url).url });
  },
  async fetch(dir, url, ...specs) {
    for (const [, source, target] of specs.map(split)) {
      const { fetchHead } = await git.fetch({ fs, http, dir, ...remote(url), ref: source, remoteRef: source, singleBranch: true, tags: false });
      await git.writeRef({ fs, dir, ref: target, value: fetchHead, force: true });
    }
  },
  async deepen(dir, url, ref, depth) {
    await git.fetch({ fs, http, dir, ...remote(url), ref, remoteRef: ref, depth: Number(depth), singleBranch: true });
  },
  async push(dir, url, ...specs) {
    const said = [];
    for (const [force, source, target] of specs.map(split)) {
      const options = source ? { ref: source, force } : { ref: "HEAD", delete: true };
      try {
        const result = await git.push({ fs, http, dir, ...remote(url), remoteRef: target, ...options });
        said.push(`${target}=${result.refs[target]?.ok ? "ok" : JSON.stringify(result)}`);
      } catch (e) {
        if (e.code !== "GitPushError") throw e;
        said.push(`${target}=${e.message}`);
      }
    }
    return said;
  },
  async ls(url) {
    const { onAuth, onAuthFailure, url: plain } = remote(url);
    const refs = await git.listServerRefs({ http, url: plain, onAuth, onAuthFailure });
    return refs.map(({ ref, oid }) => `${ref}=${oid}`);
  },
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const [verb, ...args] = line.split("\t");
  let answer;
  try {
    answer = ["ok", ...((await verbs[verb](...args)) ?? [])];
  } catch (e) {
    answer = ["error", `${e.code ?? e.name}: ${e.message} ${JSON.stringify(e.data ?? {})}`];
  }
  console.log(answer.map((text) => text.replace(/[\t\n]/g, " ")).join("\t"));
}
