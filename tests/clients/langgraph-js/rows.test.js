// Rows of the contract's tables and of its choices that `langgraph.test.js` has not.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "@langchain/langgraph-sdk";
import {
  assertStopped,
  cancelMany,
  client,
  gone,
  GRAPHS,
  KEY,
  LONG,
  NODES,
  PREFIX,
  tag,
  ticks,
  untilTicking,
  URL,
  witness,
} from "./calls.js";

// Names of components and keys make no difference.
const row = PREFIX || KEY !== "none" ? test.skip : test;

const made = async () => (await client.threads.create()).thread_id;
const status = async (thread, run) => (await client.runs.get(thread, run)).status;

// Starts a run that goes on.
async function ticking(graph = "slow", { thread, bodies, ...more } = {}) {
  const [id, probe] = [thread ?? (await made()), tag()];
  const input = { ...LONG, tag: probe };
  const { run_id } = await client.runs.create(id, GRAPHS[graph], { input, ...more });
  await untilTicking(probe, bodies);
  return [id, run_id, probe];
}

async function parts(stream) {
  const all = [];
  for await (const part of stream) all.push(part);
  return all;
}

row("what is wrong with a create is told, and nothing is made", async () => {
  const [thread, unknown, input] = [await made(), randomUUID(), {}];
  for (const [status, ...call] of [
    [422, thread, "nope", { input }],
    [404, thread, unknown, { input }],
    [404, unknown, GRAPHS.echo, { input }],
    [422, "x", GRAPHS.echo, { input }],
    [400, thread, GRAPHS.echo, { input, config: { configurable: { a: 1 } }, context: { b: 2 } }],
    [422, thread, GRAPHS.echo, { input, streamMode: "nope" }],
    [422, thread, GRAPHS.echo, { input, multitaskStrategy: "nope" }],
    [422, thread, GRAPHS.echo, { input, metadata: { quell_timeout_ms: 0 } }],
    [400, null, GRAPHS.echo, { command: { resume: "x" } }],
  ]) {
    await assert.rejects(client.runs.create(...call), { status }, JSON.stringify(call));
  }
  assert.deepEqual(await client.runs.list(thread), []);
});

row("a thread that is not there is made if asked, and one is made once", async () => {
  const threadId = randomUUID();
  const values = await client.runs.wait(threadId, GRAPHS.echo, {
    input: { text: "x" },
    ifNotExists: "create",
  });
  assert.deepEqual(values.log, ["echo:x"]);
  await assert.rejects(client.threads.create({ threadId }), { status: 409 });
  const again = await client.threads.create({ threadId, ifExists: "do_nothing" });
  assert.deepEqual(again.values, values);
});

row("null input on an empty thread fails and says so", async () => {
  const wait = client.runs.wait(await made(), GRAPHS.echo, { input: null });
  await assert.rejects(wait, /EmptyInputError: Received no input for __start__/);
});

row("subgraph events come only when asked for, also of a joined stream", async () => {
  const thread = await made();
  const asked = { input: { ms: 60, chunk_ms: 20 }, streamMode: ["updates", "custom"] };
  const without = await parts(client.runs.stream(thread, GRAPHS.nested, asked));
  assert.ok(without.every(({ event }) => !event.includes("|")));
  const { run_id } = await client.runs.create(thread, GRAPHS.nested, {
    ...asked,
    streamSubgraphs: true,
    streamResumable: true,
  });
  await client.runs.join(thread, run_id);
  const joined = client.runs.joinStream(thread, run_id, {
    lastEventId: "-1",
    streamMode: ["custom"],
  });
  const events = (await parts(joined)).map(({ event }) => event);
  assert.ok(events.some((event) => event.startsWith("custom|sub:")), events.join());
  assert.ok(!events.some((event) => event.startsWith("updates")), events.join());
});

for (const multitaskStrategy of ["interrupt", "rollback"]) {
  row(`the next run takes the place of a stubborn one by ${multitaskStrategy}`, async () => {
    const metadata = { quell_grace_ms: 300 };
    const [thread, run, probe] = await ticking("stubborn", { metadata });
    const after = tag();
    const next = await client.runs.create(thread, GRAPHS.slow, {
      input: { ms: 100, chunk_ms: 10, tag: after },
      multitaskStrategy,
    });
    await untilTicking(after);
    // The new one has ticked, so the old one does not any more.
    await assertStopped(probe);
    assert.deepEqual((await client.runs.join(thread, next.run_id)).log, ["slow:done"]);
    if (multitaskStrategy === "rollback") return gone(thread, run);
    const read = await client.runs.get(thread, run);
    assert.deepEqual([read.status, read.quell.cause.kind], ["interrupted", "superseded"]);
  });
}

row("runs of a thread queue up or are refused", async () => {
  const [thread, run, probe] = await ticking();
  const queued = await client.runs.create(thread, GRAPHS.echo, { input: { text: "2" } });
  const reject = { input: {}, multitaskStrategy: "reject" };
  await assert.rejects(client.runs.create(thread, GRAPHS.echo, reject), { status: 409 });
  assert.equal(await status(thread, queued.run_id), "pending");
  await client.runs.cancel(thread, run, true);
  await assertStopped(probe);
  assert.deepEqual((await client.runs.join(thread, queued.run_id)).log, ["echo:2"]);
});

row("a delayed run waits, and its stop comes before its start", async () => {
  const [thread, probe] = [await made(), tag()];
  const input = { ...LONG, tag: probe };
  const run = await client.runs.create(thread, GRAPHS.slow, { input, afterSeconds: 60 });
  assert.ok(Date.parse(run.created_at) > Date.now() + 50_000);
  assert.equal((await client.threads.get(thread)).status, "busy");
  await client.runs.cancel(thread, run.run_id);
  assert.equal(await status(thread, run.run_id), "interrupted");
  assert.deepEqual((await witness(probe)).marks, []);
  assert.equal((await client.threads.get(thread)).status, "idle");
});

row("a stateless run may keep its thread", async () => {
  const text = tag();
  await client.runs.wait(null, GRAPHS.echo, { input: { text }, onCompletion: "keep" });
  const [thread] = await client.threads.search({ values: { text } });
  assert.deepEqual(thread.values.log, [`echo:${text}`]);
});

row("a pause is no cancel, and goes on with its answer", async () => {
  const thread = await made();
  const paused = await client.runs.wait(thread, GRAPHS.interrupting, { input: {} });
  assert.deepEqual(paused.__interrupt__[0].value, { question: "go on?" });
  const [run] = await client.runs.list(thread);
  assert.deepEqual([run.status, run.quell.status], ["success", "paused"]);
  const { status: state, interrupts } = await client.threads.get(thread);
  assert.deepEqual([state, Object.keys(interrupts).length], ["interrupted", 1]);
  const command = { resume: "yes" };
  const values = await client.runs.wait(thread, GRAPHS.interrupting, { command });
  assert.deepEqual(values.log, ["answer:yes"]);
  assert.equal((await client.threads.get(thread)).status, "idle");
});

row("a timeout is told by a wait, a stream, the run and the thread", async () => {
  const [thread, probe] = [await made(), tag()];
  const asked = { input: { ...LONG, tag: probe }, metadata: { quell_timeout_ms: 200 } };
  const told = { error: "TimeoutError", message: "Run exceeded its time limit of 200 ms" };
  const all = await parts(client.runs.stream(thread, GRAPHS.steps, asked));
  assert.deepEqual([all.at(-1).event, all.at(-1).data], ["error", told]);
  await assertStopped(probe);
  assert.deepEqual((await client.threads.get(thread)).error, told);
  assert.equal(await status(thread, all[0].data.run_id), "timeout");
  const wait = client.runs.wait(thread, GRAPHS.slow, asked);
  await assert.rejects(wait, /TimeoutError: Run exceeded its time limit of 200 ms/);
});

row("a run that is not there is an error of a join and of a stream", async () => {
  const [thread, run] = [await made(), randomUUID()];
  const missing = { error: "HTTPException", message: "404: Run not found" };
  assert.deepEqual(await client.runs.join(thread, run), { __error__: missing });
  const all = await parts(client.runs.joinStream(thread, run));
  assert.deepEqual(
    all.map(({ event, data }) => [event, data]),
    [["error", missing]],
  );
});

row("a client whose stream is cut comes back by Location, and nothing comes twice", async () => {
  let cuts = 0;
  const cutting = async (url, init) => {
    const answer = await fetch(url, init);
    if (!/runs\/stream$/.test(String(url)) || cuts++ > 0) return answer;
    const reader = answer.body.getReader();
    let seen = "";
    const body = new ReadableStream({
      pull: async (to) => {
        const { value } = await reader.read();
        seen += new TextDecoder().decode(value);
        if (seen.split("event: custom").length < 3) return to.enqueue(value);
        // What was read before has come to the client.
        await sleep(50);
        await reader.cancel();
        to.error(new TypeError("terminated"));
      },
    });
    return new Response(body, answer);
  };
  const callerOptions = { fetch: cutting };
  const other = new Client({ apiUrl: URL, apiKey: KEY, callerOptions });
  // It comes back after a second, to the next server. A stateless run is gone then.
  for (const thread of [await made(), null]) {
    cuts = 0;
    const stream = other.runs.stream(thread, GRAPHS.slow, {
      input: { ms: 300, chunk_ms: 50 },
      streamMode: ["custom", "values"],
      streamResumable: true,
    });
    const all = await parts(stream);
    assert.deepEqual(all.at(-1).data.log, ["slow:done"]);
    const ids = all.map(({ id }) => id);
    assert.deepEqual(ids, [...new Set(ids)].sort());
    if (thread !== null) continue;
    // Who comes back later still is told by every server what is missing.
    for (const node of NODES) {
      const headers = { "last-event-id": ids[1] };
      const again = await fetch(`${node}/runs/${all[0].data.run_id}/stream`, { headers });
      const missing = [...(await again.text()).matchAll(/^id: (.*)$/gm)].map(([, id]) => id);
      assert.deepEqual(missing, ids.slice(2));
    }
  }
});

row("the last client that leaves cancels, if it asked so", async () => {
  const probe = tag();
  const thread = await made();
  const leaves = new AbortController();
  const stream = client.runs.stream(thread, GRAPHS.slow, {
    input: { ...LONG, tag: probe },
    streamMode: "custom",
    onDisconnect: "cancel",
    signal: leaves.signal,
  });
  const reader = parts(stream).catch(() => {});
  await untilTicking(probe);
  leaves.abort();
  await reader;
  const [{ run_id }] = await client.runs.list(thread);
  await client.runs.join(thread, run_id);
  const run = await client.runs.get(thread, run_id);
  assert.equal(run.status, "interrupted");
  assert.equal(run.quell.cause.kind, "disconnected");
  await assertStopped(probe);
});

row("a cancel of what is not there is told", async () => {
  const [thread, run, probe] = await ticking();
  for (const ids of [
    [thread, randomUUID()],
    [await made(), run],
  ]) {
    await assert.rejects(client.runs.cancel(...ids), { status: 404 });
  }
  for (const ids of [
    [thread, "x"],
    ["x", run],
  ]) {
    await assert.rejects(client.runs.cancel(...ids), { status: 422 });
  }
  await client.runs.cancel(thread, run, true);
  await assertStopped(probe);
});

for (const graph of ["slow", "steps", "parallel", "nested"]) {
  row(`a cancel in the first moments of ${graph} is not lost`, async () => {
    const [thread, probe] = [await made(), tag()];
    const input = { ...LONG, tag: probe };
    const { run_id } = await client.runs.create(thread, GRAPHS[graph], { input });
    await client.runs.cancel(thread, run_id);
    await client.runs.join(thread, run_id);
    assert.equal(await status(thread, run_id), "interrupted");
    await assertStopped(probe);
  });
}

for (const action of ["interrupt", "rollback"]) {
  row(`a queued run is cancelled alone by ${action}, and its thread stays busy`, async () => {
    const [thread, run, probe] = await ticking();
    const queued = tag();
    const input = { ...LONG, tag: queued };
    const { run_id } = await client.runs.create(thread, GRAPHS.slow, { input });
    await client.runs.cancel(thread, run_id, true, action);
    if (action === "rollback") await gone(thread, run_id);
    else assert.equal(await status(thread, run_id), "interrupted");
    assert.equal((await client.threads.get(thread)).status, "busy");
    await client.runs.cancel(thread, run, true);
    await assertStopped(probe);
    assert.deepEqual((await witness(queued)).marks, []);
  });
}

row("a second cancel joins the first, and the run reads running until it has stopped", async () => {
  const metadata = { quell_grace_ms: 1_000 };
  const [thread, run, probe] = await ticking("stubborn", { metadata });
  await client.runs.cancel(thread, run);
  assert.equal(await status(thread, run), "running");
  await client.runs.cancel(thread, run, true);
  assert.equal(await status(thread, run), "interrupted");
  await assertStopped(probe);
  assert.ok((await witness(probe)).marks.includes("stubborn:dropped"));
});

row("a bulk cancel takes the runs of one thread if it names it", async () => {
  const [one, other] = [await ticking(), await ticking()];
  assert.equal((await cancelMany({ thread_id: one[0], status: "all" })).status, 204);
  await client.runs.join(one[0], one[1]);
  await assertStopped(one[2]);
  assert.equal(await status(other[0], other[1]), "running");
  assert.equal((await cancelMany({ status: "running" }, "rollback")).status, 204);
  await client.runs.join(other[0], other[1]);
  await assertStopped(other[2]);
});
