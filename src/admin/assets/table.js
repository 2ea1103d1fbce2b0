// Tables whose rows change once a second: rows are found by key, and only texts that differ are written.

/** Sets a text, if it is another. */
export const put = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

/** An element with a class and a text. */
export const make = (tag, name = "", text = "") => {
  const element = document.createElement(tag);
  if (name !== "") element.className = name;
  if (text !== "") element.textContent = text;
  return element;
};

export class Table {
  #columns;
  #body;
  #rows = new Map();
  #empty;

  /**
   * `columns`: `{ title, help, of, kind }`. `of(row)` gives a text, or for the kind "draw" gets the cell as second
   * argument and fills it. `empty`: the text of a table without rows.
   */
  constructor(table, columns, empty) {
    this.#columns = columns;
    this.#body = table.tBodies[0];
    const head = table.tHead.insertRow();
    for (const { title, help, kind } of columns) {
      const cell = make("th", kind ?? "", title);
      cell.scope = "col";
      if (help) cell.title = help;
      head.append(cell);
    }
    this.#empty = make("tr");
    const cell = make("td", "empty", empty);
    cell.colSpan = columns.length;
    this.#empty.append(cell);
    this.#body.append(this.#empty);
  }

  /** The text of a table without rows. */
  set empty(text) {
    put(this.#empty.firstChild, text);
  }

  /** Shows rows in order; `key` names each. */
  show(rows, key) {
    const present = new Set();
    let before = this.#empty;
    this.#empty.hidden = rows.length > 0;
    for (const row of rows) {
      const name = key(row);
      present.add(name);
      let line = this.#rows.get(name);
      if (line === undefined) {
        line = make("tr");
        for (const { kind } of this.#columns) line.append(make("td", kind ?? ""));
        this.#rows.set(name, line);
      }
      this.#columns.forEach((column, at) => {
        const cell = line.cells[at];
        if (column.kind?.startsWith("draw")) column.of(row, cell);
        else put(cell, column.of(row));
      });
      if (before.nextSibling !== line) before.after(line);
      before = line;
    }
    for (const [name, line] of this.#rows) {
      if (present.has(name)) continue;
      line.remove();
      this.#rows.delete(name);
    }
  }
}

/** A bar of parts, each a share of `whole`: `[label, colour, value]`. Reuses the elements that are there. */
export const bar = (element, parts, whole) => {
  element.classList.add("bar");
  while (element.children.length < parts.length) element.append(document.createElement("i"));
  parts.forEach(([label, colour, value], at) => {
    const part = element.children[at];
    part.style.setProperty("--swatch", `var(${colour})`);
    part.style.width = `${whole > 0 ? Math.max(0, (100 * value) / whole) : 0}%`;
    part.title = label;
  });
};
