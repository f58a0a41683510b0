// What the suites of the JavaScript client ask again and again.
//
// QUELL_URL names the server, QUELL_KEY the key that it asks for, if it does, QUELL_PREFIX what
// stands before the ids of its graphs, QUELL_NODES the servers behind it if it is a proxy.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "@langchain/langgraph-sdk";

export const URL = process.env.QUELL_URL;
export const NODES = process.env.QUELL_NODES ? process.env.QUELL_NODES.split(" ") : [URL];
export const KEY = process.env.QUELL_KEY || "none";
export const PREFIX = process.env.QUELL_PREFIX ?? "";

// The one place that knows the ids of the demo graphs.
const NAMES = "echo slow steps parallel nested failing interrupting stubborn".split(" ");
export const GRAPHS = Object.fromEntries(NAMES.map((name) => [name, PREFIX + name]));
export const LONG = { ms: 300_000, chunk_ms: 20 };

export const client = new Client({ apiUrl: URL, apiKey: KEY });
export const tag = () => `js-${randomUUID()}`;

// Each server knows what its own bodies did, so all of them are asked.
export async function witness(probe) {
  const seen = { ticks: {}, marks: [] };
  for (const node of NODES) {
    const { ticks, marks } = await (await fetch(`${node}/_bench/ticks?probe=${probe}`)).json();
    for (const [body, count] of Object.entries(ticks)) {
      seen.ticks[body] = (seen.ticks[body] ?? 0) + count;
    }
    seen.marks.push(...marks);
  }
  return seen;
}

export async function ticks(probe) {
  return Object.values((await witness(probe)).ticks).reduce((a, b) => a + b, 0);
}

export async function untilTicking(probe, bodies = 1) {
  for (let i = 0; i < 3000; i++) {
    if (Object.keys((await witness(probe)).ticks).length >= bodies) return;
    await sleep(10);
  }
  assert.fail(`${probe} never ticked`);
}

export async function assertStopped(probe) {
  const before = await ticks(probe);
  await sleep(300);
  assert.equal(await ticks(probe), before, "work went on after the run was reported stopped");
}

export const gone = (thread, run) => assert.rejects(client.runs.get(thread, run), { status: 404 });

export async function cancelMany(body, action = "interrupt") {
  return fetch(`${URL}/runs/cancel?action=${action}`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-api-key": KEY },
    body: JSON.stringify(body),
  });
}
