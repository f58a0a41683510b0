// Drives the page as a person does, and says what it has seen.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { freePort, Quell } from "./server.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const folder = mkdtempSync(join(tmpdir(), "quell-page-"));
const server = new Quell(await freePort(), ["--config", "quell.toml", "--store", join(folder, "runs.db")]);
const browser = await chromium.launch({
  executablePath: process.env.QUELL_BROWSER, args: ["--no-sandbox"],
});
const page = await browser.newPage({ viewport: { width: 1100, height: 900 } });
page.setDefaultTimeout(20_000);

/** What the console says, and requests that leave the origin: none may. */
const complaints = [];
let isAway = false;
page.on("console", (told) => {
  const isFailure = /Failed to load resource|net::ERR/.test(told.text());
  if (["error", "warning"].includes(told.type()) && !(isAway && isFailure)) complaints.push(told.text());
});
page.on("pageerror", (error) => complaints.push(String(error)));
page.on("request", (request) => {
  if (![`${server.url}/`, "data:", "about:"].some((own) => request.url().startsWith(own))) {
    complaints.push(`a request to ${request.url()}`);
  }
});

const say = (words) => console.log(`   ${words}`);
const open = (place) => page.goto(`${server.url}/ui#/${place}`);
const shot = (name) => page.screenshot({ path: join(process.env.QUELL_SHOTS, `${name}.png`), fullPage: true });
const text = (selector) => page.locator(selector).innerText();

/**
 * Waits until an expression is true in the page. Playwright's own wait evaluates texts there, which
 * the policy of the page forbids.
 */
async function until(expression, seconds = 20) {
  for (const end = Date.now() + 1_000 * seconds; Date.now() < end; await page.waitForTimeout(30)) {
    if (await page.evaluate(expression)) return;
  }
  throw new Error(`it has not come true in ${seconds} s: ${expression}`);
}

/** Checks a view: what axe-core finds, in light and dark, and that it fits into 375 pixels. */
async function accessible(name) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    // The policy of the page lets no script in: it is evaluated from outside.
    await page.evaluate(AXE);
    const { violations } = await page.evaluate("axe.run()");
    const found = violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.html).slice(0, 3).join(" ")}`);
    assert.deepEqual(found, [], `${name}, ${colorScheme}`);
    await shot(`${name}-${colorScheme}`);
  }
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 375, height: 800 });
  const width = await page.evaluate("document.documentElement.scrollWidth");
  assert.ok(width <= 375, `${name} is ${width} pixels wide on 375`);
  await shot(`${name}-375`);
  await page.setViewportSize({ width: 1100, height: 900 });
}

const tests = {
  async "a browser gets the page at / and everybody else the contract's answer"() {
    await page.goto(`${server.url}/`);
    await page.getByRole("heading", { name: "Runs" }).waitFor();
    const answer = await fetch(`${server.url}/`);
    assert.match(answer.headers.get("content-type"), /json/);
  },

  async "a run is started with the form, and its tree grows"() {
    await open("components");
    const item = page.locator("li", { hasText: "workflow/grows" });
    await item.getByRole("button", { name: "Start…" }).click();
    await item.getByLabel("Id, or none for a new one").fill("tree");
    await accessible("components");
    await item.getByRole("button", { name: "Start workflow/grows" }).click();
    await page.getByRole("heading", { name: "tree", exact: true }).waitFor();
    const rows = page.getByRole("treeitem");
    await until("document.querySelectorAll('[role=treeitem]').length > 4");
    const before = await rows.count();
    await until(`document.querySelectorAll('[role=treeitem]').length > ${before}`);
    say(`its tree has grown from ${before} rows to ${await rows.count()}`);
    await accessible("run");
  },

  async "it is stopped, and the strip says how that went"() {
    await page.getByLabel("Reason").fill("seen enough");
    await page.getByRole("button", { name: "Stop", exact: true }).click();
    await page.getByText("quiescent: nothing of it executes").waitFor();
    assert.match(await text(".strip"), /Accepted[^]*seen enough[^]*Terminal[^]*Quiescent/);
    assert.equal(await server.statusOf("tree"), "cancelled");
  },

  async "who ignores its stop is named, with how long that can last"() {
    await server.starts("agent/stubborn", "stubborn", { grace_ms: 40_000 });
    await open("runs/stubborn");
    await until("document.querySelector('.state')?.innerText.includes('running')");
    await page.getByRole("button", { name: "Stop", exact: true }).click();
    await page.getByText(/sh \(pid \d+\) \(a program\), for/).waitFor();
    assert.match(await text(".left"), /It takes [\d.]+ s at most/);
    await accessible("strip");
    await open("stops");
    await page.getByRole("link", { name: "stubborn", exact: true }).waitFor();
    await accessible("stops");
    await server.asks("/v1/runs/stubborn/cancel", { mode: "abort", wait: "quiescent" });
    await page.getByText("No stop is under way").waitFor();
    assert.equal(await server.statusOf("stubborn"), "cancelled");
  },

  async "what is abandoned is named wherever it is told, until it has ended"() {
    await server.starts("agent/leaves", "leaves", { grace_ms: 500 });
    await open("runs/leaves");
    // Stopped before, it would be found.
    await page.locator(".log li", { hasText: /\bleft\b/ }).waitFor();
    await page.getByRole("button", { name: "Stop", exact: true }).click();
    const left = /bash \(seems to have left pid \d+\)/;
    await page.locator(".strip .bad", { hasText: left }).waitFor();
    await page.locator(".state", { hasText: left }).waitFor();
    await page.locator(".chosen-row", { hasText: left }).waitFor();
    await accessible("abandoned");
    await page.getByText("quiescent: nothing of it executes").waitFor();
    // The tree of a run that has ended is read every other second.
    await page.locator(".chosen-row", { hasText: "which has ended since" }).waitFor();
  },

  async "many are stopped after a preview, and no others"() {
    for (const id of ["s1", "s2", "s3"]) await server.starts("agent/slow", id);
    await server.starts("agent/stubborn", "other");
    await open("runs");
    await page.getByLabel("Component").fill("agent/slow");
    await page.getByLabel("Component").press("Tab");
    await until("document.querySelectorAll('tbody tr').length === 3");
    await page.getByRole("button", { name: "Stop what these filters mean…" }).click();
    const preview = page.getByRole("region", { name: "What would be stopped" });
    await preview.getByRole("heading", { name: "3 runs would be stopped" }).waitFor();
    await accessible("preview");
    assert.equal(await server.statusOf("s1"), "running", "a preview stops nothing");
    await preview.getByRole("button", { name: "Stop 3" }).click();
    await page.getByText("3 are stopping").waitFor();
    await until("document.querySelectorAll('tbody .cancelled').length === 3");
    assert.equal(await server.statusOf("other"), "running");
    await server.asks("/v1/runs/other/cancel", { mode: "abort", wait: "terminal" });
  },

  async "the page goes on when the server was started again"() {
    await page.goto("about:blank");
    await open("runs");
    await page.locator("tbody tr").first().waitFor();
    isAway = true;
    await server.end();
    await page.getByText("The server is away").waitFor();
    await server.start();
    await until("document.querySelector('.connection').innerText === ''");
    await server.starts("agent/talker", "after");
    await page.getByRole("link", { name: "after", exact: true }).waitFor();
    isAway = false;
  },

  async "events are asked for behind the last one, whatever programs say in theirs"() {
    await open("runs");
    const asked = await page.evaluate(async () => {
      const { follow } = await import("/ui/api.js");
      const [asked, fetched] = [[], window.fetch];
      const parts = [
        { seq: 3, event: "custom", data: { to: "bob@example.com" } },
        { seq: 4, event: "custom", data: { to: 1e9 } },
        { seq: 5, event: "lagged", data: { from: 5, to: 9 } },
      ];
      window.fetch = async (path, init) => {
        if (!String(path).includes("/events?")) return fetched(path, init);
        asked.push(String(path).split("after=")[1]);
        const part = parts[asked.length - 1];
        if (!part) return new Response("");
        const begin = (body) => body.enqueue(new TextEncoder().encode(`data: ${JSON.stringify(part)}\n\n`));
        const lost = (body) => body.error(new Error("the connection is lost"));
        return new Response(new ReadableStream({ start: begin, pull: lost }, { highWaterMark: 0 }));
      };
      const last = await follow("any", 0, new AbortController().signal, () => {});
      window.fetch = fetched;
      return [...asked, last];
    });
    assert.deepEqual(asked, ["0", "3", "4", "9", 9]);
  },

  async "what cannot be taken of events is not asked for again"() {
    const [asked, taken] = await page.evaluate(async () => {
      const { follow } = await import("/ui/api.js");
      const [asked, taken, fetched] = [[], [], window.fetch];
      window.fetch = async (path, init) => {
        if (!String(path).includes("/events?")) return fetched(path, init);
        asked.push(String(path).split("after=")[1]);
        return new Response(asked.length > 2 ? "" : `data: {"seq": ${asked.length}, "event": "custom"}\n\n`);
      };
      await follow("any", 0, new AbortController().signal, (some) => {
        taken.push(some[0].seq);
        throw new Error("it has a shape that nobody has thought of");
      });
      window.fetch = fetched;
      return [asked, taken];
    });
    assert.deepEqual([asked, taken], [["0", "1", "2"], [1, 2]]);
  },

  async "events of any shape are shown, and the page goes on"() {
    await server.starts("agent/shapes", "shapes");
    let streams = 0;
    const count = (request) => (streams += Number(request.url().includes("/shapes/events")));
    page.on("request", count);
    await open("runs/shapes");
    await page.locator(".log li", { hasText: "ended" }).waitFor();
    const { events } = await server.asks("/v1/runs/shapes/log");
    await until(`document.querySelectorAll('.log li').length === ${events.length}`);
    const told = await text(".log");
    for (const part of ['"text":{"a":1}', '"length":1200,"slice":"x"', " a line behind a list", '{"to":"x"']) {
      assert.ok(told.includes(part), `${part}: ${told}`);
    }
    // The pause until a server is asked again is half a second.
    await page.waitForTimeout(1_500);
    page.off("request", count);
    assert.equal(streams, 1);
    await page.getByRole("link", { name: "Runs", exact: true }).click();
    await page.getByRole("link", { name: "shapes", exact: true }).waitFor();
  },

  async "the tree of a run goes on when the server was started again"() {
    await server.starts("workflow/asks", "asks");
    await open("runs/asks");
    await page.waitForTimeout(300);
    await until("document.querySelector('.state')?.innerText.includes('paused')");
    isAway = true;
    await server.end();
    await server.start();
    await page.getByLabel("Answer: text, or JSON").fill('{"approve": true}');
    await page.getByRole("button", { name: "Answer", exact: true }).click();
    await until("document.querySelector('.state')?.innerText.includes('completed')");
    await until("document.querySelector('[role=treeitem]')?.getAttribute('aria-label').includes('completed')");
    await page.locator(".log li", { hasText: "ended" }).first().waitFor();
    isAway = false;
  },

  async "a tree of 10,000 rows scrolls"() {
    await server.starts("workflow/big", "big");
    await open("runs/big");
    await until("document.querySelector('.tree .all')?.clientHeight === 26 * 9999", 60);
    const [frames, drawn] = await page.evaluate(scrolled);
    say(`ten thousand rows: ${frames.toFixed(0)} frames per second while they scroll, at most ${drawn} drawn`);
    assert.ok(drawn < 100, "those that are seen are drawn");
    await page.getByRole("tree").press("End");
    await until("document.querySelector('[role=treeitem][aria-selected=true]')?.innerText.includes('waits')");
    await server.asks("/v1/runs/big/cancel", { wait: "terminal" });
  },

  async "the error of a member stays while its run goes on"() {
    await server.starts("workflow/half", "half");
    await open("runs/half");
    const failed = page.locator("[role=treeitem]", { hasText: "breaks" });
    await failed.click();
    await page.locator(".chosen-row", { hasText: "it is broken" }).waitFor();
    // Its events have come by now, which do not tell of it.
    await page.waitForTimeout(1_000);
    assert.match(await text(".chosen-row"), /it is broken/);
    await server.asks("/v1/runs/half/cancel", { wait: "terminal" });
  },

  async "a stop may have a grace of its own"() {
    await server.starts("agent/stubborn", "graced", { grace_ms: 600_000 });
    await open("runs/graced");
    await page.getByLabel("Grace in seconds").fill("0.5");
    await page.getByRole("button", { name: "Stop", exact: true }).click();
    await page.getByText("quiescent: nothing of it executes").waitFor();
    assert.match(await text(".strip"), /Terminal/);
  },

  async "the runs are those of a kind and of a time"() {
    await open("runs");
    await page.getByLabel("Kind").selectOption("workflow");
    await until("document.querySelectorAll('tbody tr').length > 0");
    await until("[...document.querySelectorAll('tbody tr')].every((row) => row.innerText.includes('workflow/'))");
    await page.getByLabel("Accepted before").fill("2001-01-01T00:00:00");
    await page.getByText("No run is like that").waitFor();
    assert.ok(await page.getByRole("button", { name: /Stop what these/ }).isDisabled(), "not by time");
    await page.getByLabel("Accepted before").fill("");
    await page.getByLabel("Accepted from").fill("2001-01-01T00:00:00");
    await until("document.querySelectorAll('tbody tr').length > 0");
    await page.getByLabel("Accepted from").fill("");
    await page.getByRole("button", { name: /Stop what these/ }).click();
    await page.locator(".preview").waitFor();
    const named = await text(".preview");
    assert.ok(!named.includes("agent/"), named);
    await accessible("filters");
    await page.getByRole("button", { name: "Leave them" }).click();
  },

  async "nodes are listed"() {
    await open("nodes");
    await page.getByText("this server").waitFor();
    await accessible("nodes");
  },

  async "every contract that is served is described, and none of them has what is another's"() {
    await open("api");
    const contracts = page.getByRole("navigation", { name: "Contracts" });
    const documents = [
      ["native", "/openapi.json", "/v1/runs/{id}/cancel", /credential apiKey/i],
      ["LangGraph", "/openapi.json", "/threads/{thread_id}/runs/{run_id}/cancel", /credential bearer/i],
      ["AgentOS", "/openapi/agentos.json", "/agents/{agent_id}/runs/{run_id}/cancel", /credential HTTPBearer/i],
      ["Playbook3D", "/playbook3d/openapi.json", "/playbook3d/cancel/{team_id}/{run_id}", /x-api-key: …/],
    ];
    const titles = page.locator(".operations summary code");
    for (const [name, at, path, credential] of documents) {
      await contracts.getByRole("link", { name, exact: true }).click();
      await page.locator("main p", { hasText: "for machines" }).getByRole("link", { name: at, exact: true }).waitFor();
      await titles.getByText(path, { exact: true }).waitFor();
      assert.match(await text("main .facts"), credential);
      const others = documents.filter((one) => one[0] !== name).map((one) => one[2]);
      const shown = await titles.allInnerTexts();
      assert.deepEqual(shown.filter((one) => others.includes(one)), [], name);
      const { paths } = await server.asks(at);
      const all = Object.values(paths).map((operations) => Object.keys(operations).length);
      say(`${name}: ${shown.length} operations of ${all.reduce((sum, some) => sum + some, 0)} of its document`);
    }
    await accessible("api");
  },

  async "an operation is found, and says what it takes and every answer"() {
    await open("api/native");
    const search = page.getByLabel("Search");
    await search.fill("no such words");
    await page.getByText(/^0 of \d+ operations$/).waitFor();
    await search.fill("GET runs lists");
    const operation = page.locator(".operations details", { hasText: "Lists roots" });
    await operation.locator("summary").first().press("Enter");
    const field = operation.locator("li", { has: page.locator("code", { hasText: /^limit$/ }) });
    assert.match(await field.innerText(), /limit query integer \(int32\)[^]*1 to 1000[^]*Defaults to 100/);
    assert.match(await operation.innerText(), /Credentials: apiKey, or bearer; none where/);
    assert.match(await text(".answers"), /200 The runs[^]*401[^]*503 The store cannot be read/);
    await operation.locator(".answers summary", { hasText: "RunList" }).click();
    const rows = operation.locator(".answers li", { has: page.locator("code", { hasText: /^runs$/ }) });
    await rows.getByText("array of RunSummary").waitFor();
    await rows.locator("summary", { hasText: "Fields of runs" }).click();
    await rows.locator("code", { hasText: /^queued_at$/ }).waitFor();
    assert.ok(!(await text(".answers")).includes("]("), "no link of a comment");
    await accessible("operation");
    await open("api/playbook3d");
    await search.fill("start caller");
    await page.locator(".operations summary").first().click();
    const start = page.locator(".operation");
    assert.match(await start.innerText(), /apiKey and bearer;[^]*team_id path string \(uuid\) required/);
    assert.match(await start.innerText(), /Body[^]*application\/json[^]*quell_timeout_ms/);
    assert.match(await start.innerText(), /402 Payment Required/);
  },

  async "a contract that is not served is not shown"() {
    isAway = true;
    await page.goto("about:blank");
    await page.route("**/playbook3d/openapi.json", (route) => route.fulfill({ status: 404, json: {} }));
    await open("api/playbook3d");
    const contracts = page.getByRole("navigation", { name: "Contracts" });
    await contracts.waitFor();
    assert.deepEqual(await contracts.getByRole("link").allInnerTexts(), ["native", "LangGraph", "AgentOS"]);
    await page.unrouteAll();
    isAway = false;
  },

  async "a schema that has itself as a part is told once"() {
    const [told, ...types] = await page.evaluate(async () => {
      const { fieldsOf, typeOf } = await import("/ui/schema.js");
      const ref = (name) => ({ $ref: `#/parts/${name}` });
      const document = {
        parts: {
          Tree: { properties: { below: { type: "array", items: ref("Tree") }, leaf: ref("Loop") } },
          Loop: { allOf: [ref("Again"), { properties: { x: { const: 1 } } }] },
          Again: { oneOf: [ref("Loop"), { type: "null" }, ref("Tree")] },
          Itself: { allOf: [ref("Itself")] },
        },
      };
      const told = [];
      const tell = (schema, within, depth) => {
        if (depth > 9) throw new Error(`it goes on: ${told}`);
        const { fields, names } = fieldsOf(document, schema, within);
        for (const field of fields) {
          told.push(`${field.name}: ${typeOf(document, field.schema, names)}`);
          tell(field.schema, names, depth + 1);
        }
      };
      tell(ref("Tree"), [], 0);
      return [told, typeOf(document, ref("Again")), typeOf(document, ref("Itself"))];
    });
    assert.deepEqual(told, ["below: array of Tree", "leaf: Loop", "x: 1"]);
    assert.deepEqual(types, ["Again", "anything"]);
  },

  async "a key is asked for, and is in memory alone"() {
    const closed = new Quell(await freePort(), [
      "--config", "quell.toml", "--set", 'keys=[{subject="ada", secret_env="ADAS_KEY", scopes=["*:read"]}]',
    ], { ADAS_KEY: "a-key-of-forty-characters-at-the-very-least" });
    await closed.start();
    const its = await browser.newPage();
    await its.goto(`${closed.url}/ui`);
    const field = its.getByLabel(/asks for a key/);
    await field.fill("wrong");
    await its.getByRole("button", { name: "Use it" }).click();
    await its.waitForTimeout(300);
    assert.equal(await its.getByText("No run is like that").count(), 0, "it is refused");
    // As it comes out of a chat.
    await field.fill("a-key-of-forty-characters-at-the-very-\u2026");
    await its.getByRole("button", { name: "Use it" }).click();
    await its.getByText("copy it once more").waitFor();
    await field.fill(" a-key-of-forty-characters-at-the-very-least ");
    await its.getByRole("button", { name: "Use it" }).click();
    await its.getByText("No run is like that").waitFor();
    const kept = await its.evaluate("[localStorage.length, sessionStorage.length, document.cookie]");
    assert.deepEqual(kept, [0, 0, ""]);
    await its.reload();
    await field.waitFor();
    // The documents are for everybody.
    await its.goto(`${closed.url}/ui#/api/agentos`);
    await its.getByText(/^\d+ of \d+ operations$/).waitFor();
    await its.close();
    await closed.end();
  },
};

/** Scrolls for two seconds. Yields the frames of one, and the most rows that were there at once. */
async function scrolled() {
  const box = /** @type {HTMLElement} */ (document.querySelector(".tree"));
  let [frames, drawn] = [0, 0];
  const began = performance.now();
  while (performance.now() - began < 2_000) {
    box.scrollTop = (box.scrollTop + 700) % box.scrollHeight;
    await new Promise(requestAnimationFrame);
    frames += 1;
    drawn = Math.max(drawn, document.querySelectorAll("[role=treeitem]").length);
  }
  return [(1_000 * frames) / (performance.now() - began), drawn];
}

let failed = 0;
try {
  await server.start();
  for (const [name, test] of Object.entries(tests)) {
    const began = performance.now();
    try {
      await test();
      assert.deepEqual(complaints.splice(0), [], "the console, and requests");
      console.log(`ok     ${name} (${((performance.now() - began) / 1_000).toFixed(1)} s)`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED ${name}\n${error.stack}`);
      await shot(`failed-${failed}`);
    }
  }
} finally {
  await browser.close();
  await server.end();
  rmSync(folder, { recursive: true, force: true });
}
console.log(failed ? `${failed} failed` : `all ${Object.keys(tests).length} passed; screenshots in ${process.env.QUELL_SHOTS}`);
process.exit(failed ? 1 : 0);
