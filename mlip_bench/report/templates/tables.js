// Tables that can be sorted, filtered, and whose columns can be hidden.

// Shorter tables need none of it.
const LEAST_ROWS = 3;

// What a cell is sorted by: its first number, or its text; cells without a number come last.
function sortKey(text) {
  const number = text.match(/^[^\d+\-−]*([+\-−]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)/i);
  return number ? Number(number[1].replace("−", "-")) : null;
}

function compareCells(one, other) {
  const [a, b] = [sortKey(one), sortKey(other)];
  if (a !== null && b !== null) return a - b;
  return a === null && b === null ? one.localeCompare(other) : a === null ? 1 : -1;
}

class Interactive {
  constructor(place) {
    this.name = place.dataset.table;
    this.table = place.querySelector("table");
    this.rows = [...this.table.tBodies[0].rows];
    this.headings = [...this.table.tHead.rows[0].cells];
    this.addTools(place);
    this.headings.forEach((heading, column) => {
      heading.classList.add("sorts");
      heading.title = "sort";
      heading.addEventListener("click", () => this.sortBy(column));
    });
  }

  addTools(place) {
    const tools = document.createElement("div");
    tools.className = "tools";
    tools.innerHTML = `<input type="search" placeholder="filter rows" aria-label="filter rows"> <details class="columns"><summary>columns</summary></details>`;
    this.filter = tools.querySelector("input");
    this.filter.addEventListener("input", () => { remember(`filter.${this.name}`, this.filter.value); this.show(); });
    this.boxes = this.headings.slice(1).map((heading, index) => {
      const label = document.createElement("label"), box = document.createElement("input");
      box.type = "checkbox";
      box.value = index + 1;
      label.append(box, " ", heading.innerText.replace(/\s+/g, " "));
      box.addEventListener("change", () => {
        remember(`hide.${this.name}`, this.boxes.filter((one) => !one.checked).map((one) => one.value).join(","));
        this.show();
      });
      tools.querySelector("details").append(label);
      return box;
    });
    place.prepend(tools);
  }

  // Smallest first, then largest first, then as it was.
  sortBy(column) {
    const [by, way] = (state.get(`sort.${this.name}`) ?? "").split(":");
    const next = Number(by) === column && by !== "" ? { up: "down", down: null }[way] : "up";
    remember(`sort.${this.name}`, next ? `${column}:${next}` : null);
    this.show();
  }

  show() {
    const [by, way] = (state.get(`sort.${this.name}`) ?? "").split(":");
    const hidden = new Set((state.get(`hide.${this.name}`) ?? "").split(",").filter(Boolean).map(Number));
    const wanted = (state.get(`filter.${this.name}`) ?? "").toLowerCase();
    const rows = [...this.rows];
    if (way) {
      const text = (row) => row.cells[Number(by)].textContent.trim();
      rows.sort((one, other) => {
        const missing = [one, other].map((row) => text(row) === DATA.missing);
        if (missing[0] !== missing[1]) return missing[0] ? 1 : -1;
        return (way === "down" ? -1 : 1) * compareCells(text(one), text(other));
      });
    }
    this.table.tBodies[0].append(...rows);
    for (const row of rows) row.classList.toggle("filtered", !row.textContent.toLowerCase().includes(wanted));
    for (const row of this.table.rows) [...row.cells].forEach((cell, column) => { cell.hidden = hidden.has(column); });
    this.headings.forEach((heading, column) => { heading.dataset.way = way && Number(by) === column ? way : ""; });
    this.filter.value = state.get(`filter.${this.name}`) ?? "";
    for (const box of this.boxes) box.checked = !hidden.has(Number(box.value));
  }
}

for (const place of document.querySelectorAll(".tabled[data-table]:not(#places .tabled)")) {
  const table = place.querySelector("table");
  if (!table.tHead || table.tBodies[0].rows.length < LEAST_ROWS) continue;
  const interactive = new Interactive(place);
  shows(() => interactive.show());
}
