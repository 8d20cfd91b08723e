// The consumer of webhooks of the tests: verifies each call as jose's documentation does it, and notes it as one line of
// JSON on stdout. How it answers stands in the path:
//   /ok          200                                /status/N      N, with a body
//   /fail/K/N    N for the first K attempts of each delivery, then 200 (K counts calls of the same delivery)
//   /reset       closes without an answer           /hang          never answers
//   /drip        a head and body byte by byte, for ever            /endless       200 and a body without an end
//   /endless/N   the same with status N             /redirect?to=  307 to that URL
//   /later/S/N   N with Retry-After: S, once for each delivery, then 200
// stdin: one word a line: "hold" (from now on every call waits) and "go".
import http from "node:http";
import { createHash } from "node:crypto";
import path from "node:path";
import { pathToFileURL } from "node:url";

const { createRemoteJWKSet, jwtVerify } = await import(pathToFileURL(path.join(process.env.MODULES, "jose/dist/node/esm/index.js")));
// No connection is kept that a server which ends would have to wait for.
const options = { agent: new http.Agent({ keepAlive: false }),
  ...(process.env.COOLDOWN ? { cooldownDuration: Number(process.env.COOLDOWN), cacheMaxAge: Number(process.env.CACHE) } : {}) };
const sets = new Map(); // by issuer: the tests may start their server again on another port
let base = "";
let held = null, release = () => {};
const calls = new Map(); // delivery -> how often it was called

function keys(issuer) {
  if (!sets.has(issuer)) sets.set(issuer, createRemoteJWKSet(new URL(issuer + "/.well-known/jwks.json"), options));
  return sets.get(issuer);
}

async function verify(request, body, issuer) {
  const { payload, protectedHeader } = await jwtVerify(request.headers["x-freestyle-signature"], keys(issuer), {
    issuer, audience: base + request.url, algorithms: ["EdDSA"],
  });
  if (payload.body_sha256 !== createHash("sha256").update(body).digest("hex")) throw new Error("the body was changed");
  return { payload, header: protectedHeader };
}

function note(line) {
  process.stdout.write(JSON.stringify({ at: Date.now(), ...line }) + "\n");
}

function drip(response, socket) {
  response.writeHead(200, { "content-length": "1000000" });
  const timer = setInterval(() => response.write("x"), 20);
  socket.on("close", () => clearInterval(timer));
}

function endless(response, status) {
  const piece = Buffer.alloc(65536, "y");
  let closed = false;
  response.writeHead(status);
  response.on("close", () => (closed = true));
  const more = () => { while (!closed && response.write(piece)); };
  response.on("drain", more);
  more();
}

function answer(request, response, count) {
  const url = new URL(request.url, base), [, word, a, b] = url.pathname.split("/");
  const plain = (status, headers = {}) => response.writeHead(status, headers).end(`answer ${status}`);
  switch (word) {
    case "status": return plain(Number(a));
    case "fail": return plain(count <= Number(a) ? Number(b) : 200);
    case "later": return count === 1 ? plain(Number(b), { "retry-after": a }) : plain(200);
    case "reset": return request.socket.resetAndDestroy ? request.socket.resetAndDestroy() : request.socket.destroy();
    case "hang": return undefined;
    case "drip": return drip(response, request.socket);
    case "slowhead": {
      const text = "HTTP/1.1 500 Slow\r\nx-slow: " + "z".repeat(100000);
      let i = 0;
      const timer = setInterval(() => request.socket.write(text[i++]), 20);
      return request.socket.on("close", () => clearInterval(timer));
    }
    case "endless": return endless(response, Number(a ?? 200));
    case "redirect": return plain(307, { location: url.searchParams.get("to") });
    default: return plain(200);
  }
}

async function take(request, response) {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  const body = Buffer.concat(pieces);
  const delivery = request.headers["x-warren-delivery"] ?? "";
  const count = (calls.get(delivery) ?? 0) + 1;
  calls.set(delivery, count);
  const claims = JSON.parse(Buffer.from((request.headers["x-freestyle-signature"] ?? "").split(".")[1] ?? "e30=", "base64url").toString() || "{}");
  const line = {
    path: request.url, method: request.method, delivery, attempt: request.headers["x-warren-attempt"], count, body: body.toString(),
    type: request.headers["content-type"], agent: request.headers["user-agent"], test: request.headers["x-warren-test"],
  };
  const received = Date.now();
  try {
    // Whose keys count is the consumer's to know; the tests say it when they begin.
    Object.assign(line, { verified: true }, await verify(request, body, process.env.ISSUER || claims.iss));
  } catch (error) {
    Object.assign(line, { verified: false, error: String(error.code ?? error) });
  }
  note({ ...line, received });
  if (held) await held;
  answer(request, response, count);
}

const server = http.createServer((request, response) => {
  take(request, response).catch((error) => { note({ failed: String(error) }); response.destroy(); });
});
server.keepAliveTimeout = 60000;
server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => {
  base = `http://127.0.0.1:${server.address().port}`;
  note({ listening: base });
});

let rest = "";
process.stdin.on("data", (data) => {
  const lines = (rest + data).split("\n");
  rest = lines.pop();
  for (const line of lines) {
    if (line === "hold") held = held ?? new Promise((resolve) => (release = resolve));
    if (line === "go") { held = null; release(); }
    note({ heard: line });
  }
});
process.stdin.on("end", () => process.exit(0));
