// The front of the first view: any number against any other, the axes chosen by the reader.

function axisTerms() {
  return DATA.terms.filter((term) => term.values.some((value) => value !== null));
}

function chosenTerm(axis) {
  const terms = axisTerms();
  return terms.find((term) => term.metric === (state.get(axis) ?? DATA[axis])) ?? terms[0];
}

// The points that no other beats in both numbers, from left to right.
function frontOf(points, x, y) {
  const sign = (term) => (term.lower ? 1 : -1);
  const order = [...points].sort((a, b) => sign(x) * (a.x - b.x) || sign(y) * (a.y - b.y));
  const kept = [];
  for (const point of order) if (!kept.length || sign(y) * point.y < sign(y) * kept.at(-1).y) kept.push(point);
  return kept;
}

function pointsOf(x, y) {
  const points = [];
  DATA.potentials.forEach((name, index) => {
    if (x.values[index] === null || y.values[index] === null) return;
    const family = DATA.families[index], [color, marker] = DATA.looks[family];
    const said = (term) => {
      const ends = term.ends?.[index];
      return `${term.label}: ${plainNumber(term.values[index])}${ends ? ` (${plainNumber(ends[0])} to ${plainNumber(ends[1])})` : ""}`;
    };
    points.push({ x: x.values[index], y: y.values[index], xs: x.ends?.[index], ys: y.ends?.[index], color, marker, family,
      name, tip: `${name}\n${said(y)}\n${said(x)}`, open: name });
  });
  return points;
}

function showFront() {
  const x = chosenTerm("x"), y = chosenTerm("y");
  if (!x || !y) { document.querySelector("div.front").hidden = true; return; }
  document.getElementById("axis-x").value = x.metric;
  document.getElementById("axis-y").value = y.metric;
  const points = pointsOf(x, y), front = frontOf(points, x, y);
  const lines = [{ points: front.map((point) => [point.x, point.y]), color: "#9AA5B1", width: 3.5 }];
  for (const family of Object.keys(DATA.looks)) {
    const own = frontOf(points.filter((point) => point.family === family), x, y);
    if (own.length > 1) lines.push({ points: own.map((point) => [point.x, point.y]), color: DATA.looks[family][0], width: 1, family });
  }
  const svg = chart({ label: `${y.label} against ${x.label}`, xLabel: x.label, yLabel: y.label, points, lines, radius: points.length > 40 ? 4.5 : 6.5 }, 640, 430);
  document.getElementById("front-plate").replaceChildren(svg);
  const lacking = DATA.potentials.length - points.length;
  const names = [...front].map((point) => point.name);
  document.getElementById("front-said").textContent =
    `Grey: nothing measured is better in both than ${severalOf(names)}.` +
    (lines.length > 1 ? " Coloured: the same within a family." : "") +
    (points.some((point) => point.ys || point.xs) ? " Bars: 95 % intervals." : "") +
    (lacking ? ` ${lacking} without one of the two numbers.` : "") + " Select a point to open its potential.";
  showFamilies();
}

for (const axis of ["x", "y"]) {
  const select = document.getElementById(`axis-${axis}`);
  for (const term of axisTerms()) select.append(new Option(term.label, term.metric));
  select.addEventListener("change", () => {
    remember(axis, select.value === DATA[axis] ? null : select.value);
    showFront();
  });
}
shows(showFront);
