"use strict";

/** Rows from which on a table can be filtered. */
const WORTH_FILTERING = 12;
const words = new Intl.Collator("en", { numeric: true });

/** What a cell is sorted by: the number that it carries, else its words; null where nothing was measured. */
function keyOf(cell) {
  const key = cell.dataset.key;
  if (key === "") return null;
  return key === undefined ? cell.textContent : Number(key);
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
    this.heads.forEach((head, index) => this.addButton(head, index));
    if (this.rows.length >= WORTH_FILTERING) this.addTools();
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
    const sort = document.createElement("select");
    this.count = document.createElement("output");
    tools.className = "tools";
    field.type = "search";
    field.placeholder = "all of these words";
    field.autocomplete = "off";
    field.addEventListener("input", () => this.filterBy(field.value));
    sort.className = "sort";
    sort.ariaLabel = "Sort by";
    sort.append(new Option("Sort by …", ""), ...this.heads.map((head, index) => new Option(head.textContent, index)));
    sort.addEventListener("change", () => sort.value && this.sortBy(Number(sort.value)));
    label.append("Filter rows", field);
    tools.append(label, sort, this.count);
    this.table.parentElement.before(tools);
    this.tell(this.rows.length);
  }

  /** Best first, where the column says which that is; then the other way; then as it was. */
  sortBy(index) {
    const first = this.heads[index].dataset.better === "higher" ? -1 : 1;
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

  show() {
    const found = this.sorted(this.rows.filter((row) => this.matches(row)));
    this.body.replaceChildren(...found);
    if (this.count) this.tell(found.length);
  }

  sorted(rows) {
    if (this.column === null) return rows;
    const keyed = rows.map((row) => [keyOf(row.cells[this.column]), row]);
    keyed.sort(([one], [other]) => compare(one, other, this.sign));
    return keyed.map(([, row]) => row);
  }

  matches(row) {
    const text = [...row.cells].map((cell) => cell.textContent).join("\n").toLowerCase();
    return this.wanted.every((word) => text.includes(word));
  }

  tell(found) {
    const all = `${this.rows.length.toLocaleString("en")} rows`;
    this.count.textContent = found < this.rows.length ? `${found.toLocaleString("en")} of ${all}` : all;
  }
}

for (const table of document.querySelectorAll("table")) new SortableTable(table);
