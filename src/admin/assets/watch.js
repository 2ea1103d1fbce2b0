// The stream of events: which classes, a filter, a pause, and the last lines.
//
// Owns the panel's elements. Sends requests by the function that it is given.

import { clock, key as readable } from "./format.js";
import { make, put } from "./table.js";

/** Lines kept. */
const LIMIT = 400;
/** Lines kept for the end of a pause. */
const HELD = 400;
/** Milliseconds that typing must rest before a filter is sent. */
const TYPING = 250;

const HELP = {
  fetchers: "Lookups",
  mutations: "Stores",
  evictions: "Items that left for others",
  deletions: "Deletions",
  connevents: "Connections that open and close",
  sysevents: "Page moves and crawls",
  rawcmds: "Raw commands",
  slow: "Turns beyond the threshold of time",
  large: "Values beyond the threshold of size",
};

const byId = (id) => document.getElementById(id);

export class Watch {
  #send;
  #running = false;
  #paused = false;
  #held = [];
  #lost = 0;
  #skipped = 0;
  #wanted = ["fetchers", "mutations", "deletions", "evictions"];

  constructor(send) {
    this.#send = send;
    byId("watch-form").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#running) this.#stop("Stopped.");
      else this.#start();
    });
    byId("watch-pause").addEventListener("click", () => this.#pause(!this.#paused));
    byId("watch-clear").addEventListener("click", () => {
      byId("lines").replaceChildren();
      this.#held = [];
      this.#lost = this.#skipped = 0;
      this.#tell();
    });
    let typing = 0;
    byId("watch-filter").addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => this.#running && this.#request(), TYPING);
    });
    byId("watch-classes").addEventListener("change", () => {
      this.#wanted = [...byId("watch-classes").querySelectorAll("input:checked")].map((input) => input.value);
      if (!this.#running) return;
      if (this.#wanted.length === 0) this.#stop("No class is chosen.");
      else this.#request();
    });
    this.#buttons();
  }

  /** A new connection: the server says what can be watched. A stream that ran goes on. */
  greet({ enabled, classes }) {
    const box = byId("watch-classes");
    const present = [...box.querySelectorAll("input")].map((input) => input.value);
    if (present.join() !== classes.join()) {
      for (const label of box.querySelectorAll("label")) label.remove();
      for (const name of classes) {
        const [label, input] = [make("label"), make("input")];
        Object.assign(input, { type: "checkbox", value: name, checked: this.#wanted.includes(name) });
        label.title = HELP[name] ?? "";
        label.append(input, make("span", "", name));
        box.append(label);
      }
    }
    for (const control of byId("watch-form").elements) if (control.id !== "watch-pause") control.disabled = !enabled;
    if (!enabled) {
      this.#running = false;
      put(byId("watch-note"), "Watching is switched off on this server (-W).");
    } else if (this.#running) this.#request();
    else this.#tell();
    this.#buttons();
  }

  #request() {
    const filter = byId("watch-filter").value.trim();
    return this.#send({ type: "watch", classes: this.#wanted, filter });
  }

  #start() {
    if (this.#wanted.length === 0) {
      put(byId("watch-note"), "Choose a class of events.");
    } else if (this.#request()) {
      this.#running = true;
      this.#skipped = this.#lost = 0;
      this.#pause(false);
    } else put(byId("watch-note"), "Watching needs a WebSocket, which does not get through here.");
    this.#buttons();
  }

  #stop(why) {
    this.#send({ type: "unwatch" });
    this.#running = false;
    this.#pause(false);
    put(byId("watch-note"), why);
    this.#buttons();
  }

  #pause(paused) {
    this.#paused = paused;
    if (!paused) {
      this.#append(this.#held);
      this.#held = [];
    }
    this.#buttons();
    this.#tell();
  }

  #buttons() {
    put(byId("watch-start"), this.#running ? "Stop" : "Start");
    byId("watch-pause").disabled = !this.#running;
    put(byId("watch-pause"), this.#paused ? "Resume" : "Pause");
    byId("watch-pause").setAttribute("aria-pressed", String(this.#paused));
  }

  /** What became of a request. */
  answer({ refused }) {
    if (refused === null) return this.#tell();
    this.#running = false;
    put(byId("watch-note"), refused);
    this.#buttons();
  }

  /** New lines. */
  take({ lines, skipped }) {
    this.#skipped += skipped;
    if (this.#paused) {
      this.#held.push(...lines);
      const extra = this.#held.length - HELD;
      if (extra > 0) {
        this.#held.splice(0, extra);
        this.#lost += extra;
      }
    } else this.#append(lines);
    this.#tell();
  }

  #tell() {
    const parts = [];
    if (!this.#running) parts.push("Not watching. Each watched class costs the workers a little.");
    else if (this.#paused) parts.push(`Paused, ${this.#held.length} lines wait`);
    else parts.push("Watching");
    if (this.#skipped > 0) parts.push(`${this.#skipped} lines skipped, more than a page can show: use a filter`);
    if (this.#lost > 0) parts.push(`${this.#lost} lines lost in pauses`);
    put(byId("watch-note"), parts.join(" · "));
  }

  #append(lines) {
    const box = byId("lines");
    // Lines that were scrolled to stay in place.
    const follows = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
    box.append(...lines.slice(-LIMIT).map(row));
    for (let extra = box.childElementCount - LIMIT; extra > 0; extra -= 1) box.firstElementChild.remove();
    if (follows) box.scrollTop = box.scrollHeight;
  }
}

/** `ts=… gid=… type=… key=… …` as a row. */
const row = (line) => {
  const fields = new Map();
  for (const part of line.trim().split(" ")) {
    const at = part.indexOf("=");
    if (at > 0 && !fields.has(part.slice(0, at))) fields.set(part.slice(0, at), part.slice(at + 1));
  }
  const take = (name) => {
    const value = fields.get(name) ?? "";
    fields.delete(name);
    return value;
  };
  // Behind the point are microseconds, not padded: 1700000000.5 is 5 of them.
  const [seconds, micros = "0"] = take("ts").split(".");
  const millis = Math.floor(Number(micros) / 1000);
  take("gid");
  const element = make("div", "line");
  const type = take("type");
  element.dataset.type = type;
  element.append(
    make("time", "", `${clock(Number(seconds) * 1000)}.${String(millis).padStart(3, "0")}`),
    make("span", "type", type),
    make("span", "key", fields.has("key") ? readable(take("key")) : ""),
  );
  const status = take("status");
  const rest = make("span", "rest");
  if (status !== "") rest.append(make("b", status, status), " ");
  rest.append([...fields].map(([name, value]) => `${name}=${value}`).join(" "));
  element.append(rest);
  return element;
};
