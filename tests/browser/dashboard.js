// The dashboard in a browser, against a server under load.
//
//   node tests/browser/dashboard.js [--images FOLDER]
//
// Environment: OXCACHED_BIN, the server's program; CHROMIUM, the browser (default /usr/bin/chromium).
// Prints "plan NAME...", then "ok NAME" or "not ok NAME: reason" for each check. With --images it saves pictures of the
// page in place of most checks. Called by scripts/browser.

import { writeFileSync } from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";
import { DEADLINE, Load, PLANTED, Server, sleep, until } from "./server.js";

// From where scripts/setup-test-tools puts it: imports do not look at NODE_PATH.
const { chromium } = createRequire(import.meta.url)(path.join(process.env.NODE_PATH ?? "", "playwright-core"));

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  // A container has no user namespaces for the sandbox, nor much of /dev/shm. The page comes from the server under test.
  args: ["--no-sandbox", "--disable-dev-shm-usage"],
});

/** What the browser complained about, but for refused connections while a server is down. */
let complaints = [];

const open = async (server, { width = 1440, height = 900, before, ...options } = {}) => {
  const context = await browser.newContext({ viewport: { width, height }, ...options });
  context.setDefaultTimeout(DEADLINE);
  const page = await context.newPage();
  const complain = (text) => /ERR_CONNECTION|WebSocket connection to|Failed to load resource/.test(text) || complaints.push(text);
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complain(message.text()));
  page.on("pageerror", (error) => complaints.push(error.stack));
  page.on("request", (request) => request.url().startsWith(server.url) || complaints.push(`asks for ${request.url()}`));
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`));
  });
  if (before) await before(page);
  await page.goto(server.url);
  return page;
};

const state = (page) => page.getAttribute("#link", "data-state");
const reach = (page, wanted) => until(`the page is ${wanted}`, async () => (await state(page)) === wanted);
const texts = (page, selector) => page.$$eval(selector, (elements) => elements.map((element) => element.textContent.trim()));
const expect = (holds, text) => {
  if (!holds) throw new Error(text);
};

/** Number of colours of a canvas. It is copied first: the browser warns of canvases that are drawn and read in turn. */
const colours = (page, selector) =>
  page.$eval(`${selector} canvas`, (canvas) => {
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
    return new Set(new Uint32Array(data.buffer)).size;
  });

const CHARTS = ["commands", "ratio", "latency", "heat", "memory", "evictions", "ages", "connections", "network", "cpu"];

const server = await new Server(["-m", "16", "-t", "2", "-o", "hotkeys,hotkeys_sample=10,hotkeys_window=2"]).start();
const load = new Load(server.port);
const page = await open(server);

/* The checks, in order: each may rely on those before it. */
const checks = {
  async live() {
    await reach(page, "live");
    expect((await page.title()).includes("oxcached 127.0.0.1"), await page.title());
  },

  async tiles() {
    const all = async () => (await texts(page, ".tile strong")).every((text) => /\d/.test(text));
    await until("every tile has a number", all);
    await until("every tile has a line", async () => (await page.$$(".tile path[d^=M]")).length === 8);
  },

  async facts() {
    const facts = (await texts(page, "#facts div")).join(" ");
    expect(/Version\S.*Up\S.*Process\d+.*Workers2.*Memory16.0 MiB/.test(facts), facts);
  },

  async charts() {
    for (const name of CHARTS) {
      await page.locator(`#chart-${name}`).scrollIntoViewIfNeeded();
      await until(`the chart ${name} is drawn`, async () => (await colours(page, `#chart-${name}`)) > 8);
      const values = () => texts(page, `#chart-${name} .entry b`);
      await until(`${name} has values`, async () => name === "heat" || (await values()).some((text) => /\d/.test(text)));
    }
  },

  async legend() {
    const entry = page.locator("#chart-commands .entry").first();
    const before = await colours(page, "#chart-commands");
    await entry.click();
    expect((await entry.getAttribute("aria-pressed")) === "false", "the entry is not off");
    await entry.click();
    expect((await entry.getAttribute("aria-pressed")) === "true" && before > 8, "the entry is not on again");
    await page.hover("#chart-commands .u-over", { position: { x: 200, y: 60 } });
  },

  async memory() {
    await until("classes have rows", async () => (await texts(page, "#classes tbody td:first-child")).length >= 5);
    const parts = await texts(page, "#memory-bar dd");
    expect(parts.length === 7 && parts.every((text) => /\d.* · .*%/.test(text)), parts.join(", "));
    const widths = await page.$$eval("#memory-bar .bar i", (parts) => parts.reduce((sum, part) => sum + part.offsetWidth, 0));
    expect(widths > 100, `a bar of ${widths} pixels`);
    const ratios = await texts(page, "#classes tbody td:last-child");
    expect(ratios.some((text) => text.endsWith("%")), ratios.join(", "));
  },

  async evictions() {
    await page.locator("#chart-evictions").scrollIntoViewIfNeeded();
    await until("items are evicted", async () => /[1-9]/.test((await texts(page, "#chart-evictions .entry b"))[0]));
  },

  async connections() {
    await until("12 connections", async () => (await texts(page, ".tile strong"))[6] === "12");
    expect((await texts(page, "#states dt")).includes("listening"), "no state of a listener");
  },

  async hot_keys() {
    await until("the planted key is the first", async () => (await texts(page, "#hot tbody td.key"))[0] === PLANTED);
    const share = (await texts(page, "#hot tbody tr:nth-child(2) td:nth-child(4)"))[0];
    expect(Math.abs(parseFloat(share) - 36) < 12, `its share of reads is ${share}`);
    await page.check("#hot-by input[value=misses]", { force: true });
    await until("missed keys", async () => (await texts(page, "#hot tbody td.key")).some((key) => key.startsWith("gone:")));
    await page.check("#hot-by input[value=reads]", { force: true });
  },

  async watch() {
    await page.fill("#watch-filter", `key=${PLANTED.replace(":", "%3A")}`);
    await page.click("#watch-start");
    await until("lines come", async () => (await page.$$(".line")).length > 20);
    const keys = new Set(await texts(page, ".line .key"));
    expect(keys.size === 1 && keys.has(PLANTED), [...keys].slice(0, 5).join(" "));
    expect((await texts(page, "#watch-note"))[0].startsWith("Watching"), (await texts(page, "#watch-note"))[0]);
    await page.click("#watch-pause");
    await sleep(300);
    const count = (await texts(page, ".line")).length;
    await until("lines wait", async () => /Paused, [1-9]/.test((await texts(page, "#watch-note"))[0]));
    expect((await texts(page, ".line")).length === count, "lines come in a pause");
    await page.click("#watch-pause");
    await page.fill("#watch-filter", "");
    await page.click("#watch-clear");
    await until("other keys come", async () => new Set(await texts(page, ".line .key")).size > 10);
    await page.uncheck("#watch-classes input[value=fetchers]");
    await page.uncheck("#watch-classes input[value=mutations]");
    await page.uncheck("#watch-classes input[value=deletions]");
    await sleep(500);
    await page.click("#watch-clear");
    await until("evictions come", async () => (await page.$$(".line")).length > 10);
    const types = new Set(await texts(page, ".line .type"));
    expect(types.size === 1 && types.has("eviction"), [...types].join(" "));
    await until("lines are bounded", async () => (await page.$$(".line")).length === 400);
  },

  async healthy() {
    // What the load does is no problem; that many evicted items were never read may be one.
    const problems = await texts(page, "#problems p:not(.good)");
    expect(problems.every((text) => /never fetched|skipped by watchers|before they reached/.test(text)), problems.join(" "));
  },

  async widths() {
    for (const width of [1440, 1024, 768, 390, 320]) {
      await page.setViewportSize({ width, height: 800 });
      await sleep(200);
      const [needed, chart] = await page.evaluate(() => [
        document.documentElement.scrollWidth,
        document.querySelector("#chart-commands canvas").getBoundingClientRect().right,
      ]);
      expect(needed <= width && chart <= width, `at ${width} the page is ${needed} wide, a chart ends at ${chart}`);
    }
    await page.setViewportSize({ width: 1440, height: 900 });
  },

  async keyboard() {
    await page.evaluate(() => document.activeElement.blur());
    const seen = [];
    for (let n = 0; n < 80; n += 1) {
      await page.keyboard.press("Tab");
      seen.push(
        await page.evaluate(() => {
          const { id, className, textContent, name, value } = document.activeElement;
          const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement.closest(".segments") ?? document.activeElement);
          return { name: id || className || name || textContent.trim(), value, body: document.activeElement === document.body, ring: outlineStyle !== "none" && outlineWidth !== "0px" };
        }),
      );
    }
    const names = seen.map(({ name }) => name);
    for (const name of ["skip", "theme", "entry", "range", "watch-filter", "watch-start", "lines"]) {
      expect(names.includes(name), `Tab never reaches ${name}: ${names.join(" ")}`);
    }
    // Behind the last element the focus is on the body.
    const bare = seen.filter(({ ring, body }) => !ring && !body);
    expect(bare.length === 0, `no focus ring: ${bare.map(({ name }) => name).join(" ")}`);
  },

  async theme() {
    const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const pixel = () => page.$eval("#chart-commands canvas", (canvas) => canvas.toDataURL().length);
    const [light, drawn] = [await background(), await pixel()];
    await page.click("#theme");
    await page.click("#theme");
    const dark = await background();
    expect(dark !== light && (await pixel()) !== drawn, `${light} and ${dark}`);
    await page.reload();
    expect((await background()) === dark, "the choice is lost");
    await page.click("#theme");
    expect((await background()) === light, "the system's theme does not come back");
    await reach(page, "live");
  },

  async structure() {
    const found = await page.evaluate(() => {
      const unnamed = [...document.querySelectorAll("button, input, a, summary")].filter((element) => {
        const label = element.getAttribute("aria-label") ?? element.textContent.trim();
        return label === "" && !element.labels?.length;
      });
      const landmarks = ["header", "nav", "main", "footer"].filter((name) => document.querySelector(name) === null);
      const ids = [...document.querySelectorAll("[id]")].map(({ id }) => id);
      const twice = ids.filter((id, at) => ids.indexOf(id) !== at);
      const broken = [...document.querySelectorAll("a[href^='#']")].filter(({ hash }) => document.querySelector(hash) === null);
      return [unnamed.map((element) => element.outerHTML), landmarks, twice, broken.map(({ hash }) => hash)].flat();
    });
    expect(found.length === 0, found.join(" "));
  },

  async restart() {
    await until("the history has some samples", async () => (await page.evaluate(() => performance.now())) > 5000);
    await server.kill();
    await reach(page, "stale");
    expect((await texts(page, "#link"))[0].startsWith("stale, "), (await texts(page, "#link"))[0]);
    expect((await page.title()).startsWith("(stale)"), await page.title());
    const process = (await texts(page, "#facts dd"))[2];
    await server.start();
    await reach(page, "live");
    await until("the facts are those of the new process", async () => (await texts(page, "#facts dd"))[2] !== process);
    await until("the load is shown again", async () => /[1-9]/.test((await texts(page, ".tile strong"))[0]));
  },

  async fallback() {
    // A proxy that lets no WebSocket through.
    const before = (other) => other.routeWebSocket(/\/ws$/, (socket) => socket.close());
    const other = await open(server, { before });
    await reach(other, "live");
    await until("tiles have numbers", async () => (await texts(other, ".tile strong")).every((text) => /\d/.test(text)));
    await other.click("#watch-start");
    expect(/needs a WebSocket/.test((await texts(other, "#watch-note"))[0]), (await texts(other, "#watch-note"))[0]);
    await other.context().close();
  },

  async troubles() {
    const token = "0123456789abcdefgh";
    const other = new Server(["-m", "16", "-t", "1", "-c", "60", "-W", "-o", "maxconns_fast"]);
    writeFileSync(other.file("token"), token);
    other.args.push("-o", `admin_token_file=${other.file("token")}`);
    await other.start();
    const crowd = new Load(other.port, 80);
    try {
      const viewed = await open(other, { httpCredentials: { username: "any", password: token } });
      await reach(viewed, "live");
      await until("refused clients are told", async () => /refused by the connection limit/.test((await texts(viewed, "#problems"))[0]));
      expect(/switched off on this server \(-W\)/.test((await texts(viewed, "#watch-note"))[0]), "watching is not told to be off");
      expect(await viewed.isDisabled("#watch-start"), "watching can be started");
      expect(/Hot keys are off/.test((await texts(viewed, "#hot"))[0]), "hot keys are not told to be off");
      await viewed.context().close();
    } finally {
      crowd.stop();
      await other.end();
    }
  },

  async console() {
    expect(complaints.length === 0, complaints.slice(0, 5).join(" | "));
  },
};

const pictures = async (folder) => {
  await reach(page, "live");
  await until("the planted key is the first", async () => (await texts(page, "#hot tbody td.key"))[0] === PLANTED);
  await page.fill("#watch-filter", "user");
  await page.click("#watch-start");
  await sleep(Number(process.env.IMAGE_SECONDS ?? 150) * 1000);
  for (const [width, height, colorScheme] of [[1440, 900, "light"], [1440, 900, "dark"], [390, 844, "light"], [390, 844, "dark"]]) {
    const shown = await open(server, { width, height, colorScheme });
    await reach(shown, "live");
    await shown.locator("#range label").first().click();
    await shown.click("#watch-start");
    await sleep(2500);
    await shown.evaluate(() => scrollTo(0, 0));
    await sleep(1500);
    await shown.screenshot({ path: path.join(folder, `dashboard-${width}-${colorScheme}.png`), fullPage: width > 1000 });
    await shown.context().close();
  }
};

let failed = 0;
const images = process.argv.indexOf("--images");
if (images > 0) await pictures(process.argv[images + 1]);
else {
  const wanted = process.argv.slice(2);
  const run = Object.entries(checks).filter(([name]) => wanted.length === 0 || wanted.includes(name));
  console.log(`plan ${run.map(([name]) => name).join(" ")}`);
  for (const [name, check] of run) {
    try {
      await check();
      console.log(`ok ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`not ok ${name}: ${error.message.split("\n")[0]}`);
    }
  }
}
load.stop();
await browser.close();
await server.end();
process.exit(failed === 0 ? 0 : 1);
