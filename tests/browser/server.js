// A server under test, and a load for it.
//
// Owns the process and the loader's connections. Knows no browser.

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, existsSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";

const BINARY = process.env.OXCACHED_BIN;
/** Reached only by a failing test. */
export const DEADLINE = 60_000;

export const sleep = (millis) => new Promise((resolve) => setTimeout(resolve, millis));

/** Waits for `done`, which gives something true; fails with `what`. */
export const until = async (what, done, deadline = DEADLINE) => {
  const end = Date.now() + deadline;
  for (;;) {
    const value = await done();
    if (value) return value;
    if (Date.now() > end) throw new Error(`never: ${what}`);
    await sleep(50);
  }
};

/** A port that is free now: the port file has no row for the admin listener. */
const freePort = () =>
  new Promise((resolve) => {
    const server = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

export class Server {
  #folder = mkdtempSync(path.join(tmpdir(), "oxcached-browser-"));
  #process = null;
  port = 0;
  admin = 0;

  constructor(args = []) {
    this.args = args;
  }

  /** Starts, on the ports of an earlier start if there was one. */
  async start() {
    const ports = path.join(this.#folder, "ports");
    rmSync(ports, { force: true });
    this.admin ||= await freePort();
    const root = process.getuid() === 0 ? ["-u", "root"] : [];
    const args = ["-l", "127.0.0.1", "-p", String(this.port || -1), `--admin=127.0.0.1:${this.admin}`, ...root, ...this.args];
    const env = { ...process.env, MEMCACHED_PORT_FILENAME: ports };
    this.#process = spawn(BINARY, args, { env, stdio: ["ignore", "ignore", "inherit"] });
    this.#process.on("error", (error) => console.error(`${BINARY}: ${error.message}`));
    await until(`${BINARY} listens`, () => existsSync(ports) || this.#process.exitCode !== null);
    if (this.#process.exitCode !== null) throw new Error(`${BINARY} ended with status ${this.#process.exitCode}`);
    this.port = Number(readFileSync(ports, "utf8").match(/^TCP INET: (\d+)$/m)?.[1]);
    return this;
  }

  /** A file in the server's own folder. */
  file(name) {
    return path.join(this.#folder, name);
  }

  get url() {
    return `http://127.0.0.1:${this.admin}/`;
  }

  /** Ends the process at once. */
  async kill() {
    if (this.#process === null) return;
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    if (this.#process.exitCode === null && this.#process.kill("SIGKILL")) await ended;
    this.#process = null;
  }

  async end() {
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** The key that is read most. */
export const PLANTED = "planted:hot";
const KEYS = 4000;
/** Lengths of values, so that several classes have items. */
const LENGTHS = [20, 90, 300, 1000, 4000, 14000];

/** Pipelines of commands over some connections, without end. Lost connections come back. */
export class Load {
  #port;
  #sockets = new Set();
  #stopped = false;

  constructor(port, connections = 12) {
    this.#port = port;
    for (let at = 0; at < connections; at += 1) this.#connect(at);
  }

  #connect(at) {
    if (this.#stopped) return;
    const socket = net.connect(this.#port, "127.0.0.1");
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    let waiting = 0;
    // Each batch ends with mn. Its reply, MN, completes the batch.
    const send = () => {
      if (this.#stopped) return;
      waiting += 1;
      socket.write(this.#batch());
    };
    socket.on("connect", send);
    socket.on("data", (data) => {
      if (!data.includes("MN\r\n")) return;
      waiting -= 1;
      if (waiting === 0) setTimeout(send, 8 + 4 * (at % 3));
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#sockets.delete(socket);
      setTimeout(() => this.#connect(at), 200).unref();
    });
  }

  #batch() {
    const commands = [];
    const any = () => `user:${Math.floor(KEYS * Math.random() ** 3)}`;
    const number = () => Math.floor(Math.random() * 200);
    for (let n = 0; n < 24; n += 1) {
      const dice = Math.random();
      if (dice < 0.3) commands.push(`get ${PLANTED}\r\n`);
      else if (dice < 0.66) commands.push(`get ${any()}\r\n`);
      else if (dice < 0.7) commands.push(`mg ${any()} v\r\n`);
      else if (dice < 0.74) commands.push(`get gone:${number()}\r\n`);
      else if (dice < 0.76) commands.push(`incr count:${number()} 1\r\n`);
      else if (dice < 0.78) commands.push(`touch ${any()} 600\r\n`);
      else if (dice < 0.8) commands.push(`delete session:${number()}\r\n`);
      else if (dice < 0.81) commands.push(`set count:${number()} 0 0 1\r\n1\r\n`);
      else if (dice < 0.83) commands.push(`set session:${number()} 0 600 2\r\nok\r\n`);
      else if (dice < 0.84) commands.push(`set ${PLANTED} 0 0 3\r\nhot\r\n`);
      else if (dice < 0.92) commands.push(this.#set(`object:${Math.floor(Math.random() * 1e6)}`));
      else commands.push(this.#set(any()));
    }
    return commands.join("") + "mn\r\n";
  }

  #set(key) {
    const length = LENGTHS[Math.floor(Math.random() ** 2 * LENGTHS.length)];
    return `set ${key} 0 0 ${length}\r\n${"x".repeat(length)}\r\n`;
  }

  stop() {
    this.#stopped = true;
    for (const socket of this.#sockets) socket.destroy();
  }
}
