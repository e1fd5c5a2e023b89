// The verdict for the weights of the sliders: the formula of mlip_bench/report/verdict.py, number by number.

const SHOWN_FIRST = 8;

// ln x of a number and of the ends of its interval; without an interval three times the same.
function logarithms(term, index) {
  const atLeast = (value) => Math.log(Math.max(value, term.floor));
  const value = atLeast(term.values[index]);
  const ends = term.ends?.[index];
  const [low, high] = ends ? ends.map(atLeast) : [value, value];
  return term.lower ? [value, low, high] : [-value, -high, -low];
}

// Scores of the potentials that have all numbers with a weight; weights by metric.
function verdictOf(weights) {
  const weighed = DATA.terms.filter((term) => term.decides && weights[term.metric] > 0);
  const terms = weighed.filter((term) => term.values.some((value) => value !== null));
  const leftOut = weighed.filter((term) => !terms.includes(term)).map((term) => term.quantity);
  const lacking = DATA.potentials.map((name, index) => terms.filter((term) => term.values[index] === null).map((term) => term.quantity));
  const rows = terms.length
    ? DATA.potentials.map((name, index) => ({ name, index, score: 0, low: 0, high: 0, ratios: {} })).filter((row) => !lacking[row.index].length)
    : [];
  const whole = terms.reduce((sum, term) => sum + weights[term.metric], 0);
  for (const term of terms) {
    const logs = rows.map((row) => logarithms(term, row.index));
    const best = Math.min(...logs.map(([value]) => value));
    rows.forEach((row, place) => {
      const share = weights[term.metric] / whole, [value, low, high] = logs[place];
      row.ratios[term.metric] = Math.exp(value - best);
      row.score += share * (value - best);
      row.low += share * (low - best);
      row.high += share * (high - best);
    });
  }
  rows.sort((a, b) => a.score - b.score);
  for (const row of rows) {
    const apart = (better, worse) => worse.score - better.score > Math.hypot(better.high - better.score, worse.score - worse.low);
    row.best = 1 + rows.filter((other) => apart(other, row)).length;
    row.worst = rows.length - rows.filter((other) => apart(row, other)).length;
    row.place = row.best === row.worst ? String(row.best) : `${row.best} to ${row.worst}`;
  }
  return { weights, terms, rows, lacking, leftOut };
}

function factorOf(row) {
  const [factor, low, high] = [row.score, row.low, row.high].map((log) => Math.exp(log).toFixed(2));
  return row.low === row.high ? factor : `${factor} (${low} to ${high})`;
}

function severalOf(names) {
  const more = names.length - DATA.mostNamed;
  return more <= 1 ? names.join(", ") : `${names.slice(0, DATA.mostNamed).join(", ")} and ${more} more`;
}

// Join what has commas of its own, of many only the first.
function listOf(items) {
  const more = items.length - DATA.mostNamed;
  return more > 0 ? `${items.slice(0, DATA.mostNamed).join("; ")} and ${more} more` : items.join("; ");
}

function sentenceOf(verdict, name) {
  if (!verdict.rows.length) return `By ${name}: no verdict, no potential has all that is weighed.`;
  const [first, ...others] = verdict.rows.filter((row) => row.best === 1);
  const equal = others.length ? ` Not told from it: ${listOf(others.map((row) => `${row.name}, ${factorOf(row)}`))}.` : "";
  return `Best by ${name}: ${first.name}, ${DATA.said[first.index]}; score ${factorOf(first)}.${equal}`;
}

// What is weighed, what is left out, and who has no score.
function remarksOf(verdict) {
  const weights = verdict.terms.map((term) => `${term.quantity} ${verdict.weights[term.metric]}`).join(", ");
  const found = [`Score: weighted geometric mean of the ratios to the best (${weights}); 1 is the best in everything. ` +
    "In brackets: where all numbers lie at the low, and at the high, ends of their 95 % intervals."];
  const certain = verdict.terms.some((term) => term.ends);
  const exact = verdict.terms.filter((term) => !term.ends).map((term) => term.quantity);
  if (certain && exact.length) found.push(`Taken as exact, they have no interval: ${exact.join(", ")}.`);
  if (!certain && verdict.terms.length) found.push("No number that is weighed has an interval, so nobody knows which places are ties.");
  if (verdict.leftOut.length) found.push(`Weighed, but not measured, or there is no reference for it, so left out: ${verdict.leftOut.join(", ")}.`);
  const byLack = new Map();
  verdict.lacking.forEach((what, index) => {
    if (what.length) byLack.set(what.join(", "), [...(byLack.get(what.join(", ")) ?? []), DATA.potentials[index]]);
  });
  for (const [what, names] of byLack) found.push(`No score, it lacks ${what}: ${severalOf(names)}.`);
  for (const term of verdict.terms) if (term.note) found.push(term.note);
  return [...new Set(found)];
}

// -- what the reader chooses ----------------------------------------------------------------------------------

const OWN = "own weights";

function chosenProfile() {
  if (state.has("weights")) return { name: OWN, weights: parsedWeights(state.get("weights")) };
  return DATA.profiles.find((profile) => profile.name === (state.get("profile") ?? DATA.profile)) ?? DATA.profiles[0];
}

function parsedWeights(text) {
  const pairs = text.split(",").map((part) => part.split(":"));
  return Object.fromEntries(pairs.map(([metric, weight]) => [metric, Number(weight)]).filter(([, weight]) => weight > 0));
}

function buildSliders() {
  const box = document.getElementById("sliders"), more = document.getElementById("more-sliders");
  const first = new Set(DATA.profiles.flatMap((profile) => Object.keys(profile.weights)));
  for (const term of DATA.terms.filter((one) => one.decides && one.values.some((value) => value !== null))) {
    const row = document.createElement("label");
    row.innerHTML = `<span></span><input type="range" min="0" max="2" step="0.05"><output></output>`;
    row.querySelector("span").textContent = term.quantity;
    row.title = term.label;
    const slider = row.querySelector("input");
    slider.dataset.metric = term.metric;
    slider.addEventListener("input", () => {
      const sliders = [...document.querySelectorAll("#sliders input, #more-sliders input")];
      const text = sliders.filter((one) => Number(one.value) > 0).map((one) => `${one.dataset.metric}:${one.value}`).join(",");
      remember("profile", null);
      remember("weights", text || "none:0");
      showVerdict();
    });
    (first.has(term.metric) ? box : more).append(row);
  }
  more.parentElement.hidden = !more.children.length;
  const select = document.getElementById("profile");
  for (const profile of DATA.profiles) select.append(new Option(profile.name, profile.name));
  select.append(new Option(OWN, OWN));
  select.addEventListener("change", () => {
    if (select.value === OWN) return;
    remember("weights", null);
    remember("profile", select.value === DATA.profile ? null : select.value);
    showVerdict();
  });
}

function showVerdict() {
  const profile = chosenProfile(), verdict = verdictOf(profile.weights);
  document.getElementById("profile").value = profile.name;
  document.getElementById("profile-said").textContent = profile.description ?? "";
  for (const slider of document.querySelectorAll("#sliders input, #more-sliders input")) {
    const weight = profile.weights[slider.dataset.metric] ?? 0;
    slider.max = Math.max(2, weight);
    slider.value = weight;
    slider.nextElementSibling.textContent = weight ? weight.toFixed(2) : "–";
  }
  document.getElementById("verdict-said").textContent = sentenceOf(verdict, profile.name);
  const [score, ...others] = remarksOf(verdict);
  document.querySelector("#places .note").textContent = score;
  document.getElementById("verdict-remark").textContent = others.join(" ");
  showPlaces(verdict);
}

function showPlaces(verdict) {
  const table = document.querySelector("#places table"), head = table.tHead, body = table.tBodies[0];
  const headings = ["potential", "place", "score (95 % interval)", ...verdict.terms.map((term) => `${term.quantity} × ${verdict.weights[term.metric]}`)];
  const line = document.createElement("tr");
  for (const heading of headings) line.append(Object.assign(document.createElement("th"), { textContent: heading }));
  head.replaceChildren(line);
  body.replaceChildren();
  const all = document.getElementById("all-places").checked;
  for (const row of all ? verdict.rows : verdict.rows.slice(0, SHOWN_FIRST)) {
    const cells = [row.name, row.place, factorOf(row), ...verdict.terms.map((term) => row.ratios[term.metric].toFixed(2))];
    const tr = document.createElement("tr");
    for (const cell of cells) tr.append(Object.assign(document.createElement("td"), { textContent: cell }));
    tr.dataset.family = DATA.families[row.index];
    opens(tr.cells[0], row.name);
    body.append(tr);
  }
  document.getElementById("all-places").parentElement.hidden = verdict.rows.length <= SHOWN_FIRST;
}

buildSliders();
document.getElementById("all-places").addEventListener("change", showVerdict);
shows(showVerdict);
