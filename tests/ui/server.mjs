// A server of quell for the page, and what is asked of it beside the page.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { createInterface } from "node:readline";

/** Yields a port that is free now: a server is started again on the same one. */
export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

export class Quell {
  /** @param {number} port @param {string[]} args @param {Record<string, string>} env */
  constructor(port, args, env = {}) {
    this.url = `http://127.0.0.1:${port}`;
    this.args = ["serve", "--listen", `127.0.0.1:${port}`, ...args];
    this.env = { ...process.env, ...env };
    this.headers = { "content-type": "application/json" };
  }

  async start() {
    this.process = spawn(process.env.QUELL, this.args, {
      cwd: process.env.QUELL_UI, env: this.env, stdio: ["ignore", "pipe", "pipe"],
    });
    this.ended = once(this.process, "exit");
    const said = [];
    this.process.stderr.on("data", (data) => said.push(String(data)));
    const listens = once(createInterface(this.process.stdout), "line");
    const first = await Promise.race([listens, this.ended.then(() => null)]);
    if (!first) throw new Error(`quell has not started: ${said.join("")}`);
    return this;
  }

  async end() {
    this.process.kill("SIGTERM");
    await this.ended;
  }

  /** @param {string} path @param {unknown} [body] */
  async asks(path, body) {
    const init = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
    const answer = await fetch(this.url + path, { ...init, headers: this.headers });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }

  /** Starts a run. @param {string} component @param {string} id @param {object} [more] */
  starts(component, id, more = {}) {
    return this.asks("/v1/runs", { component, id, ...more });
  }

  /** @param {string} id */
  async statusOf(id) {
    return (await this.asks(`/v1/runs/${id}`)).status;
  }
}
