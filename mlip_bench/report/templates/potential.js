// A potential that is opened: its numbers, charts, hyper-parameters and rows, unpacked when they are first wanted.

const unpacked = new Map();

// Return the JSON in an element of the page, which is packed with gzip; null where it holds none.
function unpack(id) {
  if (!unpacked.has(id)) unpacked.set(id, unpacking(id));
  return unpacked.get(id);
}

async function unpacking(id) {
  const text = document.getElementById(id).textContent.trim();
  if (!text) return null;
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

function opens(element, name) {
  element.classList.add("opens");
  element.addEventListener("click", () => { remember("open", name); showPotential(); });
}

function part(parent, name, text, className = "") {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  parent.append(element);
  return element;
}

function tableOf(parent, headings, rows) {
  const table = part(part(parent, "div", undefined, "scroll"), "table");
  const head = part(part(table, "thead"), "tr"), body = part(table, "tbody");
  for (const heading of headings) part(head, "th", heading);
  for (const row of rows) {
    const line = part(body, "tr");
    for (const cell of row) part(line, "td", cell ?? DATA.missing);
  }
  return table;
}

// Rows as a text of comma-separated values, with all keys.
function csvOf(packed, rows) {
  const constant = Object.keys(packed.constant);
  const lines = [[...packed.keys, ...constant], ...rows.map((row) => [...row, ...constant.map((key) => packed.constant[key])])];
  return lines.map((line) => line.map((cell) => (cell === null ? "" : typeof cell === "number" ? String(cell) : quoted(String(cell)))).join(",")).join("\n") + "\n";
}

async function showPotential() {
  const dialog = document.getElementById("potential"), name = state.get("open");
  if (!name || !DATA.potentials.includes(name)) { if (dialog.open) dialog.close(); return; }
  const index = DATA.potentials.indexOf(name), [color] = DATA.looks[DATA.families[index]];
  const inside = dialog.querySelector(".inside");
  inside.replaceChildren();
  const title = part(inside, "h2", name);
  title.style.borderColor = color;
  part(inside, "p", DATA.treatment[DATA.families[index]] ?? "", "note");
  const charts = part(inside, "div", undefined, "charts");
  const known = DATA.terms.filter((term) => term.values[index] !== null);
  part(inside, "h3", "Numbers");
  const numbers = part(inside, "div", undefined, "numbers");
  tableOf(numbers, ["number", "value", "95 % interval"], known.map((term) => [term.label, plainNumber(term.values[index]),
    term.ends?.[index] ? term.ends[index].map(plainNumber).join(" to ") : DATA.missing]));
  if (!dialog.open) dialog.showModal();
  let details, packed;
  try {
    [details, packed] = await Promise.all([unpack("details"), unpack("rows")]);
  } catch (error) {
    part(inside, "p", `The details cannot be unpacked here (${error.message}); results.jsonl beside the report has the numbers.`, "note");
    return;
  }
  if (state.get("open") !== name) return;
  const own = details[name] ?? { charts: [], hypers: "" };
  for (const one of own.charts) drawCharted(charts, one, color);
  const fits = DATA.fits[name] ?? [name];
  if (fits.length > 1 && own.charts.length) part(charts, "p", `Drawn: ${name}, the first of ${fits.length} fits that differ in their seed; numbers are means over all.`, "note");
  part(inside, "h3", "Hyper-parameters");
  part(inside, "p", own.hypers || DATA.missing, "hypers");
  showRows(inside, name, fits, packed);
}

function drawCharted(parent, one, color) {
  const figure = part(parent, "figure");
  const points = one.x.map((x, i) => ({ x, y: one.y[i], color, marker: "o", tip: one.tips[i], opacity: 0.55 }));
  const lines = one.lines.map((line) => ({ points: line.x.map((x, i) => [x, line.y[i]]), color: line.grey ? "#9AA5B1" : color, width: line.grey ? 2.5 : 1.3 }));
  if (one.equal) {
    const all = [...one.x, ...one.y], ends = [Math.min(...all), Math.max(...all)];
    lines.unshift({ points: ends.map((end) => [end, end]), color: "#9AA5B1", width: 1 });
  }
  const spec = { label: one.title, xLabel: one.x_label, yLabel: one.y_label, points, lines, radius: 3, plain: !one.logarithmic, equal: one.equal,
    xTicks: one.x_ticks, tight: one.x_ticks !== null };
  part(figure, "div", undefined, "plate").append(chart(spec, 420, 330));
  part(figure, "figcaption", `${one.title}. ${one.note}`);
}

function showRows(inside, name, fits, packed) {
  part(inside, "h3", "Rows");
  if (packed === null) { part(inside, "p", "They are too many for this page: results.jsonl beside the report has them.", "note"); return; }
  const at = Object.fromEntries(packed.keys.map((key, place) => [key, place]));
  const value = (row, key) => (key in at ? row[at[key]] : packed.constant[key] ?? null);
  const rows = packed.rows.filter((row) => fits.includes(value(row, "potential")));
  const button = part(inside, "button", "CSV");
  button.type = "button";
  button.addEventListener("click", () => save([csvOf(packed, rows)], "text/csv", `${name}.csv`));
  const shown = [...(fits.length > 1 ? ["potential"] : []), "measure", "metric", "split", "group", "n_atoms", "value", "low", "high", "unit", "implementation", "note", "error"];
  const number = (cell) => (typeof cell === "number" ? plainNumber(cell) : cell);
  tableOf(inside, shown, rows.map((row) => shown.map((key) => number(value(row, key)))));
}

document.getElementById("potential").addEventListener("close", () => { remember("open", null); tip.style.display = "none"; });
document.getElementById("close-potential").addEventListener("click", () => document.getElementById("potential").close());
document.getElementById("all-rows").addEventListener("click", async () => {
  const packed = await unpack("rows");
  if (packed !== null) save([csvOf(packed, packed.rows)], "text/csv", "results.csv");
});
shows(showPotential);
