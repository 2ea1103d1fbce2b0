// Charts over time, by uPlot: lines or areas with a legend that shows the newest values, or those under the cursor.
//
// Owns the canvases, their colours and sizes. Gets columns from its caller; knows no server.

/** Colours by custom property, in the theme of the moment. A canvas knows neither properties nor `light-dark()`. */
const colours = new Map();
const probe = document.createElement("i");
probe.hidden = true;
document.body.append(probe);
const colour = (name) => {
  if (!colours.has(name)) {
    probe.style.color = `var(${name})`;
    colours.set(name, getComputedStyle(probe).color);
  }
  return colours.get(name);
};

const FONT = '11px system-ui, -apple-system, "Segoe UI", sans-serif';
const two = (number) => String(number).padStart(2, "0");
const timeOf = (seconds) => {
  const date = new Date(seconds * 1000);
  const text = `${two(date.getHours())}:${two(date.getMinutes())}`;
  return date.getSeconds() === 0 ? text : `${text}:${two(date.getSeconds())}`;
};

/** Charts that are redrawn with another theme. */
const all = new Set();

/** Draws every chart again, in the colours of the theme. */
export const recolour = () => {
  colours.clear();
  all.forEach((chart) => chart.redraw());
};

const seen = new WeakMap();
const viewport = new IntersectionObserver(
  (entries) => entries.forEach(({ target, isIntersecting }) => seen.set(target, isIntersecting)),
  { rootMargin: "300px" },
);
/** Whether an element is in the window, or near: others are not worth drawing each second. */
const isSeen = (element) => seen.get(element) ?? true;

const axis = (options) => ({
  stroke: () => colour("--faint"),
  font: FONT,
  grid: { stroke: () => colour("--grid"), width: 1 },
  ticks: { show: false },
  ...options,
});

/** Time axis and cursor that all charts have. */
const base = (width, height) => ({
  width,
  height,
  padding: [8, 8, 0, 0],
  legend: { show: false },
  cursor: { sync: { key: "time" }, drag: { x: false, y: false }, points: { size: 6 }, y: false },
});
const timeAxis = () =>
  axis({ values: (_, ticks) => ticks.map(timeOf), space: 80, size: 24, gap: 4, incrs: [5, 10, 15, 30, 60, 120, 300, 600] });
const valueAxis = (format, more = {}) =>
  axis({ values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : format(tick))), size: 62, gap: 4, space: 28, ...more });

const powers = (base, count) => Array.from({ length: count }, (_, at) => base ** at);
/** Distances of marks for sizes and for times: 64 MiB and 15 min read better than 50e6 and 1000. */
export const SIZE_STEPS = powers(2, 50);
export const TIME_STEPS = [1, 5, 15, 30, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 86400, 172800, 604800, 1209600, 2419200, 4838400];

const translucent = (name, share) => `color-mix(in srgb, ${colour(name)} ${share}%, transparent)`;

export class Chart {
  #element;
  #plot;
  #lines;
  #format;
  #legend = [];
  #range = 600;
  #data = null;

  /**
   * `lines`: `{ label, colour, area, dash }` each. `format` makes texts of values. `min`, `max`: bounds of the values;
   * `log`: a logarithmic axis; `steps`: the distances that marks of the axis may have.
   */
  constructor(element, lines, { format, max, min = 0, log = false, steps }) {
    this.#element = element;
    this.#lines = lines;
    this.#format = format;
    const legend = document.createElement("div");
    legend.className = "legend";
    const canvas = document.createElement("div");
    canvas.className = "canvas";
    element.append(canvas, legend);
    for (const [at, line] of lines.entries()) legend.append(this.#entry(line, at + 1));
    // A chart of a few values needs no high axis; one of zeros has one of 1.
    const linear = (_, low, high) => [min, max ?? (high > 0 ? high * 1.08 : 1)];
    const range = log ? (_, low, high) => (low > 0 ? [10 ** Math.floor(Math.log10(low)), 10 ** Math.ceil(Math.log10(high) + 1e-9)] : [1, 1000]) : linear;
    const series = lines.map((line) => ({
      label: line.label,
      stroke: () => colour(line.colour),
      width: 1.5,
      dash: line.dash,
      fill: line.area ? () => translucent(line.colour, line.area) : undefined,
      points: { show: false },
      spanGaps: false,
    }));
    const size = this.#size();
    this.#plot = new uPlot(
      {
        ...base(...size),
        scales: { x: { time: true, range: (_, low, high) => [high - this.#range, high] }, y: { range, distr: log ? 3 : 1 } },
        axes: [timeAxis(), valueAxis(format, steps ? { incrs: steps } : {})],
        series: [{}, ...series],
        hooks: { setCursor: [() => this.#values()] },
      },
      [[], ...lines.map(() => [])],
      canvas,
    );
    new ResizeObserver(() => this.#resize()).observe(canvas);
    viewport.observe(element);
    all.add(this);
  }

  /** Whether drawing is worth it. */
  get isSeen() {
    return isSeen(this.#element);
  }

  #entry(line, at) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "entry";
    button.setAttribute("aria-pressed", "true");
    button.title = "Show or hide";
    const [swatch, name, value] = ["i", "span", "b"].map((tag) => document.createElement(tag));
    swatch.style.setProperty("--swatch", `var(${line.colour})`);
    if (line.dash) swatch.className = "dashed";
    name.textContent = line.label;
    button.append(swatch, name, value);
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      this.#plot.setSeries(at, { show: shown });
    });
    this.#legend.push(value);
    return button;
  }

  #size() {
    const canvas = this.#element.querySelector(".canvas");
    return [Math.max(120, canvas.clientWidth), Math.max(80, canvas.clientHeight)];
  }

  #resize() {
    const [width, height] = this.#size();
    if (width !== this.#plot.width || height !== this.#plot.height) this.#plot.setSize({ width, height });
  }

  /** Shows columns: times, and the values of each line. */
  show(data, range) {
    this.#range = range;
    this.#data = data;
    this.#plot.setData(data);
    this.#values();
  }

  redraw() {
    this.#plot.redraw();
  }

  #values() {
    if (this.#data === null) return;
    const under = this.#plot.cursor.idx;
    const at = under ?? this.#data[0].length - 1;
    this.#legend.forEach((element, line) => {
      const text = this.#format(this.#data[line + 1]?.[at] ?? null);
      if (element.textContent !== text) element.textContent = text;
    });
  }
}

/** Steps between the colours of a heat map. */
const SHADES = 24;

/** Counts by time and bucket, as colours. */
export class HeatMap {
  #element;
  #plot;
  #range = 600;
  #columns = [];
  #bounds;

  /** `bounds`: the upper bound of each bucket; `format` makes texts of them. */
  constructor(element, bounds, format) {
    this.#element = element;
    this.#bounds = bounds;
    viewport.observe(element);
    const canvas = document.createElement("div");
    canvas.className = "canvas";
    element.append(canvas);
    const size = () => [Math.max(120, canvas.clientWidth), Math.max(80, canvas.clientHeight)];
    const marks = bounds.map((_, at) => at + 1).filter((at) => (bounds.length - at) % 6 === 0);
    this.#plot = new uPlot(
      {
        ...base(...size()),
        scales: { x: { time: true, range: (_, low, high) => [high - this.#range, high] }, y: { range: () => [0, bounds.length] } },
        axes: [timeAxis(), valueAxis((at) => format(bounds[at - 1]), { splits: () => marks })],
        series: [{}, { points: { show: false } }],
        hooks: { draw: [(plot) => this.#draw(plot)] },
      },
      [[], []],
      canvas,
    );
    new ResizeObserver(() => {
      const [width, height] = size();
      if (width !== this.#plot.width || height !== this.#plot.height) this.#plot.setSize({ width, height });
    }).observe(canvas);
    all.add(this);
  }

  /** Whether drawing is worth it. */
  get isSeen() {
    return isSeen(this.#element);
  }

  /** Shows times, and the counts of each bucket. */
  show(times, columns, range) {
    this.#range = range;
    this.#columns = columns;
    this.#plot.setData([times, times.map(() => null)]);
  }

  redraw() {
    this.#plot.redraw();
  }

  #draw(plot) {
    const { ctx, bbox } = plot;
    const times = plot.data[0];
    if (times.length === 0) return;
    // Several samples may share a stripe of pixels.
    const stripe = Math.max(Math.ceil(2 * devicePixelRatio), Math.ceil(bbox.width / this.#range));
    const stripes = Math.ceil(bbox.width / stripe);
    const buckets = this.#bounds.length;
    const counts = new Float32Array(stripes * buckets);
    const end = plot.scales.x.max;
    for (let at = 0; at < times.length; at += 1) {
      const place = Math.floor(((times[at] - (end - this.#range)) / this.#range) * (stripes - 1) + 0.5);
      if (place < 0 || place >= stripes) continue;
      for (let bucket = 0; bucket < buckets; bucket += 1) counts[place * buckets + bucket] += this.#columns[bucket][at] ?? 0;
    }
    const most = counts.reduce((most, value) => Math.max(most, value), 0);
    if (most === 0) return;
    const [low, high] = [colour("--heat-low"), colour("--heat-high")];
    const shades = Array.from({ length: SHADES }, (_, at) => `color-mix(in oklab, ${high} ${Math.round((100 * at) / (SHADES - 1))}%, ${low})`);
    const rows = Array.from({ length: buckets + 1 }, (_, at) => Math.round(plot.valToPos(at, "y", true)));
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    for (let place = 0; place < stripes; place += 1) {
      const left = Math.round(bbox.left + place * stripe);
      for (let bucket = 0; bucket < buckets; bucket += 1) {
        const value = counts[place * buckets + bucket];
        if (value === 0) continue;
        // Logarithmic: a single slow turn among thousands must be seen.
        const share = Math.log1p(value) / Math.log1p(most);
        ctx.fillStyle = shades[Math.round(share * (SHADES - 1))];
        ctx.fillRect(left, rows[bucket + 1], stripe, rows[bucket] - rows[bucket + 1]);
      }
    }
    ctx.restore();
  }
}

/** A line without axes, as the path of an SVG of 100 by 24. */
export const sparkline = (values) => {
  const known = values.filter((value) => value !== null);
  if (known.length < 2) return "";
  const [low, high] = [Math.min(...known, 0), Math.max(...known)];
  const place = (value) => (high > low ? 22 - (20 * (value - low)) / (high - low) : 22).toFixed(1);
  let pen = "M";
  return values
    .map((value, at) => {
      if (value === null) {
        pen = "M";
        return "";
      }
      const part = `${pen}${((100 * at) / (values.length - 1)).toFixed(1)} ${place(value)}`;
      pen = "L";
      return part;
    })
    .join("");
};
