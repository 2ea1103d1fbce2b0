// The samples that the page holds: columns of numbers over time, bounded as the server's history is.
//
// Owns the arrays. Knows no chart and no element.

/** Samples kept: half an hour of seconds, and some gaps. */
const LIMIT = 1860;
/** Seconds between two samples above which there is a gap. */
const GAP = 3.5;

export class Series {
  /** Unix times in seconds. */
  times = [];
  #columns = new Map();

  /** Takes the server's history. Older samples of the page stay: they are of the server before its restart. */
  load({ step, times, columns }) {
    const first = times.length > 0 ? times[0] / 1000 : Infinity;
    let kept = this.times.findIndex((time) => time >= first);
    if (kept < 0) kept = this.times.length;
    this.times.length = kept;
    for (const column of this.#columns.values()) column.length = kept;
    times.forEach((time, at) => this.#add(time / 1000, (name) => columns[name]?.[at], Object.keys(columns), GAP * step));
  }

  /** Takes one sample. */
  push({ time, values }) {
    this.#add(time / 1000, (name) => values[name], Object.keys(values), GAP);
  }

  #add(time, value, names, gap) {
    const last = this.times.at(-1);
    // The wall clock was set back: times must grow.
    if (last !== undefined && time <= last) return;
    if (last !== undefined && time - last > gap) this.#row((last + time) / 2, () => null, []);
    this.#row(time, value, names);
    if (this.times.length > LIMIT) {
      const extra = this.times.length - LIMIT;
      this.times.splice(0, extra);
      for (const column of this.#columns.values()) column.splice(0, extra);
    }
  }

  #row(time, value, names) {
    this.times.push(time);
    for (const name of names) if (!this.#columns.has(name)) this.#columns.set(name, []);
    for (const [name, column] of this.#columns) {
      while (column.length < this.times.length - 1) column.push(null);
      column.push(value(name) ?? null);
    }
  }

  /** Whether samples have this column. */
  has(name) {
    return this.#columns.has(name);
  }

  /** The newest value of a column. */
  last(name) {
    return this.#columns.get(name)?.at(-1) ?? null;
  }

  /** Index of the first sample at or after a time. */
  from(time) {
    let [low, high] = [0, this.times.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.times[middle] < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** A column from an index on. */
  slice(name, from) {
    const column = this.#columns.get(name);
    return column === undefined ? new Array(this.times.length - from).fill(null) : column.slice(from);
  }

  /** For each sample from an index on, the sum of some columns. */
  sum(names, from) {
    const columns = names.map((name) => this.slice(name, from));
    return columns[0].map((_, at) =>
      columns.reduce((sum, column) => (sum === null || column[at] === null ? null : sum + column[at]), 0),
    );
  }

  /** For each sample from an index on, `part` of `part` and `rest`; null where both are 0. */
  ratio(part, rest, from) {
    const [parts, rests] = [this.sum(part, from), this.sum(rest, from)];
    return parts.map((value, at) => {
      const all = value === null || rests[at] === null ? 0 : value + rests[at];
      return all > 0 ? value / all : null;
    });
  }
}
