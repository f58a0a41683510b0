// The released JavaScript client against a server in demo mode. The witness, not the record,
// decides that work has stopped.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import {
  assertStopped,
  cancelMany,
  client,
  gone,
  GRAPHS,
  LONG,
  NODES,
  tag,
  ticks,
  untilTicking,
} from "./calls.js";

test("what a program says comes in pieces, and is a message in the values", async () => {
  const { thread_id } = await client.threads.create();
  const parts = [];
  const input = { messages: [{ role: "user", content: "which?" }] };
  const streamMode = ["values", "messages-tuple"];
  for await (const part of client.runs.stream(thread_id, "teller", { input, streamMode })) {
    parts.push(part);
  }
  const said = parts.filter(({ event }) => event === "messages").map(({ data }) => data[0]);
  const pieces = said.filter(({ id }) => id === said[0].id);
  assert.equal(pieces.map(({ content }) => content).join(""), "green tea");
  const { messages } = parts.findLast(({ event }) => event === "values").data;
  assert.deepEqual(
    messages.map(({ type, content }) => [type, content]),
    [
      ["human", "which?"],
      ["ai", ""],
      ["tool", messages[2].content],
      ["ai", "green tea"],
    ],
  );
  assert.equal(pieces[0].id, messages[3].id);
  assert.equal(messages[1].tool_calls[0].name, "look");
  assert.equal(messages[2].tool_call_id, messages[1].tool_calls[0].id);
  assert.deepEqual(said.filter(({ type }) => type === "tool"), [messages[2]]);
  const { values } = await client.threads.get(thread_id);
  assert.deepEqual(values.messages, messages);
});

test("a thread is made, run on and read", async () => {
  const { thread_id } = await client.threads.create();
  assert.deepEqual(await client.runs.wait(thread_id, GRAPHS.echo, { input: { text: "hi" } }), {
    text: "hi",
    log: ["echo:hi"],
  });
  const thread = await client.threads.get(thread_id);
  assert.equal(thread.status, "idle");
  assert.deepEqual(thread.values.log, ["echo:hi"]);
  const [assistant] = await client.assistants.search({ graphId: GRAPHS.echo });
  assert.equal((await client.assistants.get(assistant.assistant_id)).graph_id, GRAPHS.echo);
});

test("an assistant is made, changed, searched and deleted", async () => {
  const name = `n-${crypto.randomUUID()}`;
  const made = await client.assistants.create({ graphId: GRAPHS.echo, name, context: { a: 1 } });
  const id = made.assistant_id;
  assert.deepEqual([made.version, made.config], [1, { configurable: { a: 1 } }]);
  const changed = await client.assistants.update(id, { metadata: { n: 2 } });
  assert.deepEqual([changed.version, changed.metadata], [2, { n: 2 }]);
  const versions = await client.assistants.getVersions(id);
  assert.deepEqual(versions.map((row) => row.version), [2, 1]);
  assert.deepEqual((await client.assistants.setLatest(id, 1)).metadata, {});
  const found = await client.assistants.search({ name, select: ["assistant_id"], sortBy: "name" });
  assert.deepEqual(found, [{ assistant_id: id }]);
  assert.equal(await client.assistants.count({ name }), 1);
  const { thread_id } = await client.threads.create();
  const values = await client.runs.wait(thread_id, id, { input: { text: "x" } });
  assert.deepEqual(values.log, ["echo:x"]);
  assert.ok((await client.assistants.getGraph(id)).edges.length > 0);
  assert.equal((await client.assistants.getSchemas(id)).graph_id, GRAPHS.echo);
  assert.deepEqual(await client.assistants.getSubgraphs(id), {});
  await client.assistants.delete(id);
  await assert.rejects(client.assistants.get(id), /404|not found/);
});

test("items of the store are put, found and deleted", async () => {
  const [root, store] = [`r-${crypto.randomUUID()}`, client.store];
  await store.putItem([root, "a"], "k", { n: 1 }, { index: false, ttl: 5 });
  await store.putItem([root, "b"], "l", { n: 2 });
  const item = await store.getItem([root, "a"], "k", { refreshTtl: false });
  assert.deepEqual([item.namespace, item.key, item.value], [[root, "a"], "k", { n: 1 }]);
  const { items } = await store.searchItems([root], { filter: { n: { $gt: 1 } }, query: "x" });
  assert.deepEqual(items.map((item) => item.key), ["l"]);
  const { namespaces } = await store.listNamespaces({ prefix: [root], maxDepth: 2 });
  assert.deepEqual(namespaces, [[root, "a"], [root, "b"]]);
  await store.deleteItem([root, "a"], "k");
  await store.deleteItem([root, "b"], "l");
  assert.deepEqual((await store.searchItems([root])).items, []);
});

test("a stream has its events in order and the run is over when it closes", async () => {
  const { thread_id } = await client.threads.create();
  const events = [];
  let run;
  const stream = client.runs.stream(thread_id, GRAPHS.slow, {
    input: { ms: 100, chunk_ms: 50 },
    streamMode: ["values", "updates", "custom"],
    onRunCreated: (made) => (run = made),
  });
  for await (const part of stream) events.push(part.event);
  assert.deepEqual(events.slice(0, 2), ["metadata", "values"]);
  assert.deepEqual(events.slice(-2), ["updates", "values"]);
  assert.equal((await client.runs.get(thread_id, run.run_id)).status, "success");
});

test("a resumable stream has no stray events and can be joined again", async () => {
  const { thread_id } = await client.threads.create();
  const ids = [];
  let run;
  const stream = client.runs.stream(thread_id, GRAPHS.slow, {
    input: { ms: 5_600, chunk_ms: 700 },
    streamMode: ["custom", "values"],
    streamResumable: true,
    onRunCreated: (made) => (run = made),
  });
  for await (const part of stream) {
    assert.ok(["metadata", "custom", "values"].includes(part.event), part.event);
    ids.push(part.id);
  }
  assert.deepEqual(ids, [...ids].sort());
  const again = [];
  const joined = client.runs.joinStream(thread_id, run.run_id, { lastEventId: ids[1] });
  for await (const part of joined) again.push(part.id);
  assert.deepEqual(again, ids.slice(2));
});

for (const [graph, bodies] of [
  ["slow", 1],
  ["steps", 1],
  ["parallel", 4],
  ["nested", 1],
]) {
  test(`a cancel stops every body of ${graph}`, async () => {
    const probe = tag();
    const { thread_id } = await client.threads.create();
    const run = await client.runs.create(thread_id, GRAPHS[graph], {
      input: { ...LONG, tag: probe },
    });
    await untilTicking(probe, bodies);
    await client.runs.cancel(thread_id, run.run_id, true);
    await assertStopped(probe);
    const read = await client.runs.get(thread_id, run.run_id);
    assert.equal(read.status, "interrupted");
    assert.equal(read.quell.cause.kind, "user-request");
  });
}

test("a cancel without wait has no body, closes the stream and ends a join", async () => {
  const probe = tag();
  const { thread_id } = await client.threads.create();
  let made;
  const created = new Promise((resolve) => (made = resolve));
  const reader = (async () => {
    const events = new Set();
    const stream = client.runs.stream(thread_id, GRAPHS.steps, {
      input: { ...LONG, tag: probe },
      streamMode: ["values", "custom"],
      onRunCreated: made,
    });
    for await (const part of stream) events.add(part.event);
    return events;
  })();
  const { run_id } = await created;
  await untilTicking(probe);
  const join = client.runs.join(thread_id, run_id);
  await client.runs.cancel(thread_id, run_id);
  assert.deepEqual((await join).log, ["before"]);
  assert.deepEqual([...(await reader)].sort(), ["custom", "metadata", "values"]);
  await assertStopped(probe);
  await assert.rejects(client.runs.cancel(thread_id, run_id), { status: 404 });
});

test("a bulk cancel by status stops a hundred runs", async () => {
  const probes = Array.from({ length: 100 }, tag);
  const runs = [];
  for (const probe of probes) {
    const { thread_id } = await client.threads.create();
    runs.push(
      await client.runs.create(thread_id, GRAPHS.slow, { input: { ...LONG, tag: probe } }),
    );
  }
  for (const probe of probes) await untilTicking(probe);
  const answer = await cancelMany({ status: "all" });
  assert.equal(answer.status, 204);
  assert.equal(answer.headers.get("quell-disposition"), "accepted");
  for (const { thread_id, run_id } of runs) {
    await client.runs.join(thread_id, run_id);
    assert.equal((await client.runs.get(thread_id, run_id)).status, "interrupted");
  }
  const before = await Promise.all(probes.map(ticks));
  await sleep(300);
  assert.deepEqual(await Promise.all(probes.map(ticks)), before);
});

test("a rollback deletes the run and leaves the thread as it was", async () => {
  const probe = tag();
  const { thread_id } = await client.threads.create();
  await client.runs.wait(thread_id, GRAPHS.echo, { input: { text: "a" } });
  const before = await client.threads.get(thread_id);
  const run = await client.runs.create(thread_id, GRAPHS.steps, {
    input: { ...LONG, tag: probe },
  });
  await untilTicking(probe);
  await client.runs.cancel(thread_id, run.run_id, true, "rollback");
  await gone(thread_id, run.run_id);
  await assertStopped(probe);
  const after = await client.threads.get(thread_id);
  assert.deepEqual(after.values, before.values);
  assert.equal(after.status, "idle");
});

test("a bulk rollback by ids deletes what it stopped", async () => {
  const probe = tag();
  const { thread_id } = await client.threads.create();
  const run = await client.runs.create(thread_id, GRAPHS.parallel, {
    input: { ...LONG, tag: probe },
  });
  await untilTicking(probe, 4);
  const answer = await cancelMany({ thread_id, run_ids: [run.run_id] }, "rollback");
  assert.equal(answer.status, 204);
  for (let i = 0; i < 200 && (await client.runs.list(thread_id)).length > 0; i++) await sleep(10);
  await gone(thread_id, run.run_id);
  await assertStopped(probe);
});

test("a failure is thrown by wait and told by a stream", async () => {
  const { thread_id } = await client.threads.create();
  const wait = client.runs.wait(thread_id, GRAPHS.failing, { input: {} });
  await assert.rejects(wait, /ValueError: boom/);
  let last;
  for await (const part of client.runs.stream(null, GRAPHS.failing, { input: {} })) last = part;
  assert.deepEqual([last.event, last.data], ["error", { error: "ValueError", message: "boom" }]);
});

test("a stateless run leaves nothing", async () => {
  const values = await client.runs.wait(null, GRAPHS.echo, { input: { text: "x" } });
  assert.deepEqual(values.log, ["echo:x"]);
  const probe = tag();
  const run = await client.runs.create(null, GRAPHS.slow, { input: { ...LONG, tag: probe } });
  await untilTicking(probe);
  await client.runs.cancel(run.thread_id, run.run_id, true);
  await assertStopped(probe);
  await gone(run.thread_id, run.run_id);
  await assert.rejects(client.threads.get(run.thread_id), { status: 404 });
});

test("threads are changed, searched, counted and copied", async () => {
  const who = randomUUID();
  const ids = [];
  for (let nr = 0; nr < 3; nr++) {
    ids.push((await client.threads.create({ metadata: { who, nr } })).thread_id);
  }
  const values = await client.runs.wait(ids[0], GRAPHS.echo, { input: { text: who } });
  const changed = await client.threads.update(ids[1], { metadata: { nr: 7 }, ttl: 60 });
  assert.deepEqual(changed.metadata, { who, nr: 7 });
  const found = async (asked) =>
    (await client.threads.search(asked)).map(({ thread_id }) => thread_id);
  const own = { metadata: { who } };
  assert.deepEqual(await found(own), [ids[1], ids[0], ids[2]]);
  const order = { sortBy: "thread_id", sortOrder: "asc", limit: 2, offset: 1 };
  assert.deepEqual(await found({ ...own, ...order }), ids.slice(1));
  assert.deepEqual(await found({ values: { text: who } }), [ids[0]]);
  assert.deepEqual(await found({ ...own, status: "busy" }), []);
  assert.equal(await client.threads.count(own), 3);
  const copy = await client.threads.copy(ids[0]);
  assert.deepEqual((await client.threads.get(copy.thread_id)).values, values);
  assert.equal(await client.threads.count(own), 4);
  for (const id of await found(own)) await client.threads.delete(id);
  assert.equal(await client.threads.count(own), 0);
  await assert.rejects(client.threads.update(ids[0], { metadata: {} }), { status: 404 });
});

test("a deleted thread stops its runs and is gone", async () => {
  const { thread_id } = await client.threads.create();
  const probe = tag();
  const input = { ...LONG, tag: probe };
  const { run_id } = await client.runs.create(thread_id, GRAPHS.nested, { input });
  await untilTicking(probe);
  await client.threads.delete(thread_id);
  await assertStopped(probe);
  for (let i = 0; i <= NODES.length; i++) {
    await assert.rejects(client.threads.get(thread_id), { status: 404 });
    await gone(thread_id, run_id);
  }
  await assert.rejects(client.threads.delete(thread_id), { status: 404 });
});

test("a deleted run is stopped, and its thread as before", async () => {
  const { thread_id } = await client.threads.create();
  await client.runs.wait(thread_id, GRAPHS.echo, { input: { text: "a" } });
  const before = await client.threads.get(thread_id);
  const probe = tag();
  const input = { ...LONG, tag: probe };
  const { run_id } = await client.runs.create(thread_id, GRAPHS.slow, { input });
  await untilTicking(probe);
  await client.runs.delete(thread_id, run_id);
  await assertStopped(probe);
  await gone(thread_id, run_id);
  assert.deepEqual(await client.threads.get(thread_id), before);
  await assert.rejects(client.runs.delete(thread_id, run_id), { status: 404 });
});

test("a batch starts all of its runs", async () => {
  const probes = [tag(), tag()];
  const payloads = probes.map((probe) => ({
    assistantId: GRAPHS.slow,
    input: { ...LONG, tag: probe },
  }));
  const runs = await client.runs.createBatch(payloads);
  for (const [nth, { thread_id, run_id }] of runs.entries()) {
    await untilTicking(probes[nth]);
    await client.runs.delete(thread_id, run_id);
    await assertStopped(probes[nth]);
  }
});

test("states are read, listed and changed", async () => {
  const { thread_id } = await client.threads.create();
  for (const text of ["a", "b"]) await client.runs.wait(thread_id, GRAPHS.echo, { input: { text } });
  const last = await client.threads.getState(thread_id);
  assert.deepEqual(last.values, { text: "b", log: ["echo:a", "echo:b"] });
  const history = await client.threads.getHistory(thread_id);
  assert.deepEqual(history[0], last);
  assert.deepEqual(history[0].parent_checkpoint, history[1].checkpoint);
  assert.deepEqual(await client.threads.getState(thread_id, history[1].checkpoint), history[1]);
  const before = { configurable: last.checkpoint };
  assert.deepEqual(await client.threads.getHistory(thread_id, { before }), history.slice(1));
  const changed = await client.threads.updateState(thread_id, { values: { text: "mine" } });
  const now = await client.threads.getState(thread_id);
  assert.deepEqual(now.checkpoint, changed.checkpoint);
  assert.equal(now.values.text, "mine");
  assert.equal((await client.runs.list(thread_id)).length, 2);
});

test("a run goes on in the node that was cut, ends before one, and forks", async () => {
  const probe = tag();
  const { thread_id } = await client.threads.create();
  const run = await client.runs.create(thread_id, GRAPHS.steps, { input: { ...LONG, tag: probe } });
  await untilTicking(probe, 1);
  await client.runs.cancel(thread_id, run.run_id, true);
  const cut = await client.threads.getState(thread_id);
  assert.deepEqual([cut.next, cut.values.log], [["slow"], ["before"]]);
  await client.threads.updateState(thread_id, { values: { ms: 10 } });
  const values = await client.runs.wait(thread_id, GRAPHS.steps, { input: null });
  assert.deepEqual(values.log, ["before", "slow:done", "after"]);
  const forked = await client.runs.wait(thread_id, GRAPHS.steps, {
    input: null,
    checkpoint: cut.checkpoint,
    command: { update: { ms: 10 } },
    interruptBefore: ["after"],
  });
  assert.deepEqual(forked.log, ["before", "slow:done"]);
  assert.equal((await client.threads.get(thread_id)).status, "interrupted");
  assert.deepEqual((await client.threads.getState(thread_id)).next, ["after"]);
});

test("a cron is made, changed, found and deleted", async () => {
  const { thread_id } = await client.threads.create();
  const made = { schedule: "0 9 * * *", input: { text: "x" } };
  const cron = await client.crons.createForThread(thread_id, GRAPHS.echo, made);
  assert.deepEqual([cron.thread_id, cron.enabled], [thread_id, true]);
  const id = cron.cron_id;
  const off = await client.crons.update(id, { enabled: false, metadata: { n: 2 } });
  assert.deepEqual([off.enabled, off.metadata], [false, { n: 2 }]);
  const found = await client.crons.search({ threadId: thread_id });
  assert.deepEqual(found.map((row) => row.cron_id), [id]);
  assert.equal(await client.crons.count({ threadId: thread_id }), 1);
  const other = await client.crons.create(GRAPHS.echo, { schedule: "@yearly" });
  assert.equal(other.on_run_completed, "delete");
  await client.crons.delete(other.cron_id);
  await assert.rejects(client.crons.delete(other.cron_id));
  await client.threads.delete(thread_id);
  assert.deepEqual(await client.crons.search({ threadId: thread_id }), []);
});
