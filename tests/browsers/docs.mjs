// The page at /docs: nothing from elsewhere, no word on the console, readable on every width, a list that can be filtered.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const { MODULES, CHROMIUM, WARREN } = process.env;
const { chromium } = createRequire(`${MODULES}/none.js`)("playwright-core");

const browser = await chromium.launch({
  executablePath: CHROMIUM,
  headless: true,
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"],
});

// A tab that notes whatever the page asks for and complains about.
async function open(width, colorScheme, hash = "") {
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme });
  const tab = await context.newPage();
  const asked = [], said = [];
  tab.on("request", (request) => { if (!request.url().startsWith("data:")) asked.push(request.url()); });
  tab.on("console", (message) => said.push(`${message.type()}: ${message.text()}`));
  tab.on("pageerror", (error) => said.push(String(error)));
  tab.on("requestfailed", (request) => said.push(`failed: ${request.url()}`));
  await tab.addInitScript(() => {
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.blockedURI));
  });
  await tab.goto(`${WARREN}/docs${hash}`, { waitUntil: "networkidle" });
  return { tab, asked, said, context };
}

async function quiet({ tab, asked, said, context }, what) {
  assert.deepEqual(await tab.evaluate(() => window.violations), [], `${what}: what the policy stopped`);
  assert.deepEqual(said, [], `${what}: the console`);
  for (const url of asked) assert.equal(new URL(url).origin, new URL(WARREN).origin, `${what}: a request`);
  await context.close();
}

try {
  const colours = new Set();
  for (const width of [1600, 1000, 390])
    for (const scheme of ["light", "dark"]) {
      const page = await open(width, scheme);
      const { wide, colour } = await page.tab.evaluate(() => ({
        wide: document.documentElement.scrollWidth - innerWidth, colour: getComputedStyle(document.body).backgroundColor,
      }));
      assert.ok(wide <= 0, `${width} ${scheme}: wider than the window by ${wide}`);
      colours.add(colour);
      await quiet(page, `${width} ${scheme}`);
    }
  assert.equal(colours.size, 2, "light and dark differ");
  console.log("docs: nothing from elsewhere, light and dark, on three widths");

  const page = await open(1600, "light");
  const { tab } = page;
  const shown = () => tab.$$eval("#list li li", (rows) => rows.filter((row) => row.offsetParent).map((row) => row.querySelector("a").hash));
  const all = await shown();
  await tab.keyboard.press("/");
  await tab.keyboard.type("downloadtarball");
  assert.deepEqual(await shown(), ["#downloadTarball"]);
  await tab.keyboard.press("Enter");
  assert.equal(new URL(tab.url()).hash, "#downloadTarball");
  const top = await tab.$eval("#downloadTarball", (article) => article.getBoundingClientRect().top);
  assert.ok(top >= 0 && top < 450, `the operation is in view: ${top}`);
  await tab.focus("#filter");
  await tab.keyboard.press("Escape");
  assert.deepEqual(await shown(), all);
  assert.ok(all.length > 40, "operations in the list");
  await tab.click("#createRepository .errors a >> nth=0");
  assert.match(new URL(tab.url()).hash, /^#error-/);
  await quiet(page, "using it");
  const phone = await open(390, "dark", "#createCommit");
  assert.equal(await phone.tab.isVisible("#list"), false);
  await phone.tab.click("summary");
  await phone.tab.click('#list a[href="#compare"]');
  assert.equal(await phone.tab.isVisible("#list"), false);
  await quiet(phone, "the menu of a phone");
  console.log("docs: the filter, the links, the menu of a phone");
} finally {
  await browser.close();
}
