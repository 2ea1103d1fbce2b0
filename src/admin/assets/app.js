// The dashboard: what each panel shows of a frame.
//
// Owns the panels. `link.js` brings frames, `series.js` keeps samples, `charts.js` and `table.js` draw.

import { Chart, HeatMap, SIZE_STEPS, TIME_STEPS, recolour, sparkline } from "./charts.js";
import * as format from "./format.js";
import { Link } from "./link.js";
import { Series } from "./series.js";
import { Table, bar, make, put } from "./table.js";
import { Watch } from "./watch.js";

const byId = (id) => document.getElementById(id);
const series = new Series();
let range = 600;
let server = null;
let latency = null;
let sample = null;
let heat = null;
let lost = 0;

// What counts as a command: `cas` is a kind of set, and a meta command is one of the others too.
const GETS = ["get_hits", "get_misses"];
const COMMANDS = [...GETS, "sets", "delete_hits", "delete_misses", "arith_hits", "arith_misses", "touch_hits", "touch_misses", "flushes"];

/* Charts over time: each line has a label, a colour, and its column. */

const LINES = {
  commands: [
    ["get hit", "--c1", (from) => series.slice("get_hits", from), { area: 10 }],
    ["get miss", "--c2", (from) => series.slice("get_misses", from)],
    ["set", "--c3", (from) => series.slice("sets", from)],
    ["delete", "--c4", (from) => series.sum(["delete_hits", "delete_misses"], from)],
    ["incr, decr", "--c5", (from) => series.sum(["arith_hits", "arith_misses"], from)],
    ["touch", "--c6", (from) => series.sum(["touch_hits", "touch_misses"], from)],
    ["cas", "--c7", (from) => series.sum(["cas_hits", "cas_failed"], from), { dash: [4, 3] }],
    ["meta", "--c8", (from) => series.slice("meta", from), { dash: [4, 3] }],
  ],
  ratio: [["get", "--c1", (from) => series.ratio(["get_hits"], ["get_misses"], from), { area: 12 }]],
  latency: [
    ["p50", "--c1", (from) => series.slice("latency_p50", from)],
    ["p99", "--c3", (from) => series.slice("latency_p99", from)],
    ["p99.9", "--c2", (from) => series.slice("latency_p999", from)],
  ],
  memory: [
    ["pages in use", "--c1", (from) => series.slice("page_bytes", from), { area: 14 }],
    ["items (as memcached counts)", "--c3", (from) => series.slice("item_bytes", from)],
    ["overhead", "--c2", (from) => series.sum(["index_bytes", "queue_bytes", "history_bytes"], from)],
    ["-m", "--faint", (from) => series.slice("limit_bytes", from), { dash: [4, 4] }],
  ],
  evictions: [
    ["evicted", "--c2", (from) => series.slice("evicted", from), { area: 12 }],
    ["of them never fetched", "--c4", (from) => series.slice("evicted_unfetched", from)],
    ["expired, memory taken back", "--c3", (from) => series.slice("reclaimed", from)],
  ],
  ages: [
    ["hot", "--c2", (from) => series.slice("age_hot", from)],
    ["warm", "--c5", (from) => series.slice("age_warm", from)],
    ["cold", "--c1", (from) => series.slice("age_cold", from)],
  ],
  connections: [
    ["open", "--c1", (from) => series.slice("connections", from), { area: 12 }],
    ["opened a second", "--c3", (from) => series.slice("connected", from)],
  ],
  network: [
    ["in", "--c3", (from) => series.slice("bytes_read", from), { area: 8 }],
    ["out", "--c1", (from) => series.slice("bytes_written", from), { area: 8 }],
  ],
  cpu: [
    ["user", "--c1", (from) => series.slice("cpu_user", from).map(cores), { area: 12 }],
    ["system", "--c2", (from) => series.slice("cpu_system", from).map(cores)],
  ],
};

const cores = (micros) => (micros === null ? null : micros / 1e6);
const positive = (value) => (value === null || value <= 0 ? null : value);
const two = (value) => (value === null ? format.NONE : value.toFixed(2));
const round = (value) => (value === null ? format.NONE : format.count(value));

const OPTIONS = {
  commands: { format: round },
  ratio: { format: format.percent, max: 1 },
  latency: { format: format.micros, log: true },
  memory: { format: format.size, steps: SIZE_STEPS },
  evictions: { format: round },
  ages: { format: format.age, steps: TIME_STEPS },
  connections: { format: round },
  network: { format: format.speed, steps: SIZE_STEPS },
  cpu: { format: two },
};

const charts = Object.entries(LINES).map(([name, lines]) => {
  const drawn = lines.map(([label, colour, , more]) => ({ label, colour, ...more }));
  return { name, columns: lines.map(([, , of]) => of), chart: new Chart(byId(`chart-${name}`), drawn, OPTIONS[name]) };
});

const NOT_MEASURED = "Latency is not measured (-o latency=off).";

/** Draws the charts that are in the window, or all. */
const drawCharts = (all = false) => {
  if (document.hidden || series.times.length === 0) return;
  const from = series.from(series.times.at(-1) - range);
  const times = series.times.slice(from);
  for (const { name, columns, chart } of charts) {
    if (!all && !chart.isSeen) continue;
    let data = columns.map((of) => of(from));
    if (OPTIONS[name].log) data = data.map((column) => column.map(positive));
    chart.show([times, ...data], range);
  }
  if (heat === null) return;
  const measured = series.slice("latency_p50", from).some((value) => value !== null);
  document.body.classList.toggle("no-latency", !measured);
  for (const note of document.querySelectorAll(".unmeasured")) {
    put(note, measured ? "" : sample?.latency === "off" ? NOT_MEASURED : "No turn in this time.");
  }
  if (!all && !heat.isSeen) return;
  const buckets = latency.bounds.map((_, at) => series.slice(`latency_bucket_${at}`, from));
  heat.show(times, buckets, range);
};

/* Tiles: the newest values, and their last two minutes. */

const TILES = [
  { title: "Commands", unit: "a second", of: (at) => series.sum(COMMANDS, at), text: round },
  { title: "Hit ratio", unit: "of lookups", of: (at) => series.ratio(["get_hits"], ["get_misses"], at), text: format.percent },
  { title: "Latency p99", unit: "of turns", of: (at) => series.slice("latency_p99", at), text: format.micros },
  { title: "Items", unit: () => `${format.size(series.last("item_bytes"))} as memcached counts`, of: (at) => series.slice("items", at), text: round },
  {
    title: "Memory",
    unit: () => `${format.size(series.last("page_bytes"))} of ${format.size(series.last("limit_bytes"))}`,
    of: (at) => {
      const limits = series.slice("limit_bytes", at);
      return series.slice("page_bytes", at).map((bytes, n) => (bytes === null ? null : bytes / limits[n]));
    },
    text: format.percent,
  },
  { title: "Evictions", unit: "a second", of: (at) => series.slice("evicted", at), text: round },
  { title: "Connections", unit: () => `of ${format.count(Number(settings.maxconns))}`, of: (at) => series.slice("connections", at), text: format.whole },
  { title: "Network out", unit: () => `${format.speed(series.last("bytes_read"))} in`, of: (at) => series.slice("bytes_written", at), text: format.speed },
];
let settings = {};

const SVG = "http://www.w3.org/2000/svg";
for (const tile of TILES) {
  const box = make("div", "tile");
  tile.value = make("strong");
  tile.note = make("small");
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 100 24");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  tile.path = svg.appendChild(document.createElementNS(SVG, "path"));
  box.append(make("h2", "", tile.title), tile.value, tile.note, svg);
  byId("tiles").append(box);
}

const drawTiles = () => {
  const from = series.from((series.times.at(-1) ?? 0) - 120);
  for (const tile of TILES) {
    const values = tile.of(from);
    put(tile.value, tile.text(values.at(-1) ?? null));
    put(tile.note, typeof tile.unit === "function" ? tile.unit() : tile.unit);
    tile.path.setAttribute("d", sparkline(values));
  }
};

/* Problems. */

const WORDS = { bad: "Problem", warning: "Warning", note: "Note" };
let told = "";
const drawProblems = (problems) => {
  const text = JSON.stringify(problems);
  if (text === told) return;
  told = text;
  const list = problems.map(({ severity, text }) => {
    const line = make("p", severity);
    line.append(make("b", "", WORDS[severity]), make("span", "", text));
    return line;
  });
  if (list.length === 0) {
    const line = make("p", "good");
    line.append(make("b", "", "Healthy"), make("span", "", "Nothing is wrong."));
    list.push(line);
  }
  byId("problems").replaceChildren(...list);
};

/* Memory. */

const MEMORY = [
  ["full-size chunks", "--m1", "max_size_bytes"],
  ["fitted chunks", "--m2", "fitted_bytes"],
  ["free in pages", "--m3", (values) => free(values)],
  ["free pages", "--m4", "pool_bytes"],
  ["index", "--m5", "index_bytes"],
  ["queues", "--m6", "queue_bytes"],
  ["history", "--m7", "history_bytes"],
];
const free = (values) => Math.max(0, values.page_bytes - values.pool_bytes - values.max_size_bytes - values.fitted_bytes);

const memoryBar = make("div");
const memoryLegend = make("dl", "legend parts");
byId("memory-bar").append(memoryBar, memoryLegend);
for (const [label, colour] of MEMORY) {
  const swatch = make("i");
  swatch.style.setProperty("--swatch", `var(${colour})`);
  const term = make("dt");
  term.append(swatch, label);
  memoryLegend.append(term, make("dd"));
}

const drawMemory = (values) => {
  const parts = MEMORY.map(([label, colour, of]) => [label, colour, typeof of === "string" ? values[of] : of(values)]);
  const sum = parts.reduce((sum, [, , bytes]) => sum + bytes, 0);
  const whole = Math.max(sum, values.limit_bytes);
  bar(memoryBar, parts.map(([label, colour, bytes]) => [`${label}: ${format.size(bytes)}`, colour, bytes]), whole);
  memoryLegend.querySelectorAll("dd").forEach((element, at) => {
    put(element, `${format.size(parts[at][2])} · ${format.percent(sum > 0 ? parts[at][2] / sum : 0)}`);
  });
  put(byId("memory-note"), `${format.size(sum)} with overhead, -m is ${format.size(values.limit_bytes)}`);
};

const PAGE = 2 ** 20;
let largest = 1;
const kept = ({ hits, returned }) => (hits + returned > 0 ? hits / (hits + returned) : null);
const unused = (row) => Math.max(0, row.pages * PAGE - row.max_size_bytes - row.fitted_bytes);
const drawClass = (row, cell) => {
  if (cell.firstChild === null) cell.append(make("div"));
  const parts = [
    ["full-size chunks", "--m1", row.max_size_bytes],
    ["fitted chunks", "--m2", row.fitted_bytes],
    ["free", "--m3", unused(row)],
  ];
  cell.title = parts.map(([label, , bytes]) => `${label}: ${format.size(bytes)}`).join(", ");
  bar(cell.firstChild, parts, largest);
};
const classes = new Table(
  byId("classes"),
  [
    { title: "Class", of: (row) => String(row.id) },
    { title: "Items up to", of: (row) => format.size(row.chunk_size), help: "in memcached's measure, as in stats slabs", kind: "wide" },
    { title: "Memory", of: drawClass, kind: "draw memory", help: "full-size chunks, fitted chunks, free; the largest class is the whole width" },
    { title: "Pages", of: (row) => format.whole(row.pages), kind: "wide" },
    { title: "Fitted", of: (row) => format.percent(row.fitted_bytes / (row.pages * PAGE)), help: "share of its pages that items in fitted chunks take", kind: "wide" },
    { title: "Free", of: (row) => format.percent(unused(row) / (row.pages * PAGE)), help: "share of its pages that no item takes" },
    { title: "Items", of: (row) => format.count(row.items) },
    { title: "Cold age", of: (row) => format.age(row.age), help: "time since the last access of the next victim", kind: "wide" },
    { title: "Hits/s", of: (row) => format.count(row.hits) },
    { title: "Sets/s", of: (row) => format.count(row.sets), kind: "wide" },
    { title: "Evicted/s", of: (row) => format.count(row.evicted) },
    { title: "Returned/s", of: (row) => format.count(row.returned), help: "evicted keys that were stored again so soon that more memory would have kept them", kind: "wide" },
    { title: "Hit ratio", of: (row) => format.percent(kept(row)), help: "hits, of hits and returned keys: a miss without an evicted key has no class" },
  ],
  "No class has memory yet.",
);

/* Connections. */

const STATES = {
  conn_listening: "listening",
  conn_new_cmd: "between commands",
  conn_waiting: "waiting for a request",
  conn_read: "reading requests",
  conn_parse_cmd: "running a command",
  conn_write: "writing a reply",
  conn_mwrite: "writing replies",
  conn_nread: "reading a value",
  conn_swallow: "passing over a value",
  conn_closing: "closing",
  conn_closed: "closed",
  conn_watch: "watching",
};
const states = make("dl", "states");
byId("states").append(states);
const drawStates = (counts) => {
  const rows = Object.entries(counts).sort(([, one], [, other]) => other - one);
  const most = Math.max(1, ...rows.map(([, count]) => count));
  while (states.children.length > 3 * rows.length) states.lastElementChild.remove();
  while (states.children.length < 3 * rows.length) states.append(make("dt"), make("dd", "track"), make("dd"));
  rows.forEach(([name, count], at) => {
    const [term, track, value] = [0, 1, 2].map((part) => states.children[3 * at + part]);
    put(term, STATES[name] ?? name);
    term.title = name;
    bar(track, [[name, "--c1", count]], most);
    put(value, format.whole(count));
  });
};

/* Keys. */

const hotRows = new Table(
  byId("hot"),
  [
    { title: "#", of: (row) => String(row.rank) },
    { title: "Key", of: (row) => format.key(row.key), kind: "key" },
    { title: "", of: (row, cell) => {
      if (cell.firstChild === null) cell.append(make("div"));
      bar(cell.firstChild, [[format.percent(row.share), "--c1", row.rate]], row.most);
    }, kind: "draw share" },
    { title: "Of all", of: (row) => format.percent(row.share) },
    { title: "A second", of: (row) => (row.bytes ? format.speed(row.rate) : format.count(row.rate)) },
  ],
  "No hot keys yet.",
);
let hot = null;
const drawHot = () => {
  if (hot === null) return;
  const by = document.querySelector("#hot-by input:checked").value;
  const rows = hot.by[by] ?? [];
  const sampled = hot.gap === 1 ? "every access" : `1 access in ${hot.gap}`;
  put(byId("hot-note"), hot.on ? `on: ${sampled}, windows of ${hot.seconds} s` : "off");
  hotRows.empty = !hot.allowed
    ? HIDDEN
    : hot.on
    ? "No key in the last window."
    : "Hot keys are off. The command “hotkeys on”, or -o hotkeys, starts them; they cost workers a little.";
  const most = rows[0]?.rate ?? 1;
  hotRows.show(rows.map((row, at) => ({ ...row, rank: at + 1, most, bytes: by === "bytes" })), (row) => row.key);
};
byId("hot-by").addEventListener("change", drawHot);

const slowRows = new Table(
  byId("slow"),
  [
    { title: "At", of: (row) => format.clock(row.time) },
    { title: "Took", of: (row) => format.micros(row.micros) },
    { title: "Command", of: (row) => row.command ?? format.NONE },
    { title: "Key", of: (row) => format.key(row.key ?? ""), kind: "key" },
    { title: "In", of: (row) => format.size(row.bytes_in), kind: "wide" },
    { title: "Out", of: (row) => format.size(row.bytes_out) },
    { title: "Commands", of: (row) => format.whole(row.commands), kind: "wide" },
    { title: "Peer", of: (row) => row.peer ?? "local", kind: "wide" },
  ],
  "No slow turns.",
);
const HIDDEN = "The server shows no keys (-X).";
const drawSlow = ({ rows, allowed, threshold }) => {
  const note = threshold === null ? "off" : threshold === 0 ? "all turns" : `turns of ${format.micros(threshold)} and more`;
  put(byId("slow-note"), `${note}; the latest 50`);
  slowRows.empty = !allowed ? HIDDEN : sample?.latency === "off" ? NOT_MEASURED : "No turn was that slow.";
  slowRows.show(rows, (row) => row.id);
};

/* The server. */

const facts = [];
const drawFacts = () => {
  const rows = [
    ["Version", server.version],
    ["Up", sample === null ? format.NONE : format.uptime(sample.uptime)],
    ["Process", String(server.pid)],
    ["Workers", String(server.threads)],
    ["Memory", format.size(Number(settings.maxbytes))],
    ["Largest item", format.size(Number(settings.item_size_max))],
    ["When full", server.evictions ? "evicts" : "refuses (-M)"],
    ["TLS", server.tls ? "on" : "off"],
    ["Login", server.auth ? "required" : "none"],
  ];
  while (facts.length < rows.length) {
    const [box, term, value] = [make("div"), make("dt"), make("dd")];
    box.append(term, value);
    byId("facts").append(box);
    facts.push([term, value]);
  }
  rows.forEach(([name, value], at) => {
    put(facts[at][0], name);
    put(facts[at][1], value);
  });
};

const drawSettings = () => {
  const rows = Object.entries(settings).flatMap(([name, value]) => {
    const row = make("div");
    row.append(make("dt", "", name), make("dd", "", value));
    return [row];
  });
  byId("settings-rows").replaceChildren(...rows);
};

/* Frames. */

const drawSample = () => {
  if (sample === null || document.hidden) return;
  drawFacts();
  drawTiles();
  drawProblems(sample.problems);
  drawMemory(sample.values);
  largest = Math.max(1, ...sample.classes.map((row) => row.pages * PAGE));
  classes.show(sample.classes, (row) => row.id);
  const all = sample.classes.length;
  put(byId("classes-note"), `${all} ${all === 1 ? "class has" : "classes have"} memory`);
  drawStates(sample.states);
  put(byId("connections-note"), `${format.whole(sample.values.connections)} of ${format.whole(Number(settings.maxconns))} (-c)`);
  drawCharts();
};

const greet = (frame) => {
  server = frame.server;
  settings = frame.settings;
  latency = frame.latency ?? null;
  series.load(frame.history);
  sample = frame.sample ?? sample;
  drawLatency();
  drawSettings();
  drawFacts();
  watch.greet(frame.watch);
  put(byId("foot"), `oxcached ${server.version}, speaks as memcached ${server.memcached_version}`);
  drawSample();
};

/** The buckets are the server's. */
const drawLatency = () => {
  if (latency === null || heat !== null) return;
  heat = new HeatMap(byId("chart-heat"), latency.bounds, format.micros);
};

const FRAMES = {
  hello: greet,
  sample: (frame) => {
    sample = frame;
    series.push(frame);
    drawSample();
  },
  watch: (frame) => watch.take(frame),
  watching: (frame) => watch.answer(frame),
  dropped: ({ frames }) => {
    lost += frames;
    put(byId("lost"), ` · ${lost} frames were lost because this page read too slowly`);
  },
  hotkeys: (frame) => {
    hot = frame;
    drawHot();
  },
  slow: drawSlow,
};

const link = new Link(
  (frame) => FRAMES[frame.type]?.(frame),
  (state, text) => {
    const pill = byId("link");
    pill.dataset.state = state;
    put(pill, text);
    document.body.classList.toggle("old", state === "stale");
    document.title = state === "live" ? `oxcached ${location.host}` : `(${state}) oxcached ${location.host}`;
  },
);
const watch = new Watch((request) => link.send(request));

/* The page's own controls. */

put(byId("host"), location.host);
byId("range").addEventListener("change", (event) => {
  range = Number(event.target.value);
  drawCharts(true);
});
document.addEventListener("visibilitychange", drawSample);
// What comes into the window is drawn without waiting for the next frame.
addEventListener("scrollend", () => drawCharts());

const THEMES = { system: "as the system", light: "light", dark: "dark" };
const root = document.documentElement;
const themeButton = byId("theme");
const showTheme = () => {
  const theme = root.dataset.theme ?? "system";
  themeButton.setAttribute("aria-label", `Colours: ${THEMES[theme]}`);
  themeButton.title = `Colours: ${THEMES[theme]}`;
  themeButton.dataset.shown = theme;
  recolour();
};
themeButton.addEventListener("click", () => {
  const names = Object.keys(THEMES);
  const next = names[(names.indexOf(root.dataset.theme ?? "system") + 1) % names.length];
  if (next === "system") delete root.dataset.theme;
  else root.dataset.theme = next;
  try {
    if (next === "system") localStorage.removeItem("theme");
    else localStorage.setItem("theme", next);
  } catch {
    // Without storage the choice lasts as long as the page.
  }
  showTheme();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
showTheme();
