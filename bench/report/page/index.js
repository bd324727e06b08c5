"use strict";

// Sorts, filters and unfolds the tables. Nothing is computed here: cells are read for their order only, and every row
// that is shown is one that the page came with.

const ABSENT = "–";
const WORTH_FILTERING = 8; // rows from which a table gets a field to filter them
const SHOWN = 200; // rows shown at first, as in the style: browsers need seconds for the layout of ten thousand
const words = new Intl.Collator("en", { numeric: true });
const NUMBER = /^<?([+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[+-]?\d+)?)/i;

/** The number that a cell begins with ("1,234 ± 5" is 1234); null for words and for what was not measured. */
function leadingNumber(text) {
  const found = NUMBER.exec(text);
  return found ? Number(found[1].replaceAll(",", "")) : null;
}

/** What a cell is sorted by. */
function keyOf(cell, isNumber) {
  const text = cell.textContent.trim();
  if (isNumber) return leadingNumber(text);
  return text === ABSENT ? null : text;
}

/** Order of two keys; what is absent comes last, whichever way the rest is turned. */
function compare(one, other, sign) {
  if (one === null || other === null) return (one === null) - (other === null);
  return sign * (typeof one === "number" ? one - other : words.compare(one, other));
}

class SortableTable {
  constructor(table) {
    this.table = table;
    this.body = table.tBodies[0];
    this.rows = [...this.body.rows]; // as the report has them
    this.heads = [...table.tHead.rows[0].cells];
    this.column = null;
    this.sign = 1;
    this.wanted = [];
    this.unfolded = this.rows.length <= SHOWN;
    this.texts = new Map();
    this.heads.forEach((head, index) => head.textContent && this.addButton(head, index));
    if (this.rows.length >= WORTH_FILTERING) this.addTools();
    if (!this.unfolded) this.show();
  }

  addButton(head, index) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => this.sortBy(index));
    head.append(button);
    head.setAttribute("aria-sort", "none");
  }

  addTools() {
    const tools = document.createElement("div");
    const label = document.createElement("label");
    const field = document.createElement("input");
    this.count = document.createElement("output");
    this.more = document.createElement("button");
    tools.className = "tools";
    field.type = "search";
    field.placeholder = "all of these words";
    field.autocomplete = "off";
    this.more.type = "button";
    this.more.textContent = `Show all ${this.rows.length.toLocaleString("en")} rows`;
    this.more.hidden = this.unfolded;
    this.more.addEventListener("click", () => this.unfold());
    field.addEventListener("input", () => this.filterBy(field.value));
    label.append("Filter rows", field);
    tools.append(label, this.count, this.more);
    this.table.parentElement.before(tools);
    this.tell(this.rows.length, Math.min(SHOWN, this.rows.length));
  }

  /** Best first where the header says that higher is better, else lowest first; then the other way; then as it was. */
  sortBy(index) {
    const first = this.heads[index].textContent.includes("↑") ? -1 : 1;
    if (this.column !== index) [this.column, this.sign] = [index, first];
    else if (this.sign === first) this.sign = -first;
    else this.column = null;
    this.heads.forEach((head, place) => {
      const sorted = this.sign > 0 ? "ascending" : "descending";
      head.setAttribute("aria-sort", place === this.column ? sorted : "none");
    });
    this.show();
  }

  filterBy(text) {
    this.wanted = text.toLowerCase().split(/\s+/).filter(Boolean);
    this.show();
  }

  unfold() {
    this.unfolded = true;
    this.more.hidden = true;
    this.table.classList.add("unfolded");
    this.show();
  }

  show() {
    const found = this.sorted(this.rows.filter((row) => this.matches(row)));
    const shown = this.unfolded ? found : found.slice(0, SHOWN);
    const fragment = document.createDocumentFragment();
    for (const row of shown) fragment.append(row);
    this.body.replaceChildren(fragment);
    if (this.count) this.tell(found.length, shown.length);
  }

  sorted(rows) {
    if (this.column === null) return rows;
    const isNumber = !this.heads[this.column].classList.contains("w");
    const keyed = rows.map((row) => [keyOf(row.cells[this.column], isNumber), row]);
    keyed.sort(([one], [other]) => compare(one, other, this.sign));
    return keyed.map(([, row]) => row);
  }

  matches(row) {
    if (!this.wanted.length) return true;
    if (!this.texts.has(row)) {
      const cells = [...row.cells].map((cell) => cell.textContent.trim());
      this.texts.set(row, cells.join("\n").toLowerCase());
    }
    return this.wanted.every((word) => this.texts.get(row).includes(word));
  }

  tell(found, shown) {
    const [all, some, most] = [this.rows.length, found, shown].map((value) => value.toLocaleString("en"));
    const first = shown < found ? `, the first ${most} shown` : "";
    this.count.textContent = found < this.rows.length ? `${some} of ${all} rows${first}` : `${all} rows${first}`;
  }
}

for (const table of document.querySelectorAll("table")) new SortableTable(table);
