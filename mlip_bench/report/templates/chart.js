// Charts that the page draws itself: points with markers, bars and names, and lines, on linear or logarithmic axes.

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { left: 62, right: 14, top: 12, bottom: 46 };
// Values that differ by more than this factor are drawn on a logarithmic axis.
const WIDE_RANGE = 5;
const MOST_NAMED = 14;
const CORNERS = { s: [4, 45], D: [4, 0], d: [4, 0], "^": [3, -90], v: [3, 90], "<": [3, 180], ">": [3, 0], p: [5, -90],
  h: [6, -90], H: [6, 0], 8: [8, 22.5] };

function svgElement(name, attributes, parent) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (parent) parent.append(element);
  return element;
}

// The path of a marker of a radius around the origin, by matplotlib's letter.
function markerPath(letter, r) {
  const at = (radius, degrees) =>
    [radius * Math.cos((degrees * Math.PI) / 180), radius * Math.sin((degrees * Math.PI) / 180)].map((v) => v.toFixed(2));
  const closed = (points) => `M${points.map((point) => point.join(" ")).join("L")}Z`;
  if (CORNERS[letter]) {
    const [n, turn] = CORNERS[letter];
    const squeeze = letter === "d" ? 0.6 : 1;
    return closed([...Array(n).keys()].map((i) => at(r * 1.15, turn + (360 * i) / n)).map(([x, y]) => [x * squeeze, y]));
  }
  if (letter === "*") return closed([...Array(10).keys()].map((i) => at(i % 2 ? r * 0.5 : r * 1.25, -90 + 36 * i)));
  if (letter === "P" || letter === "X") {
    const a = r * 1.1, b = r * 0.38, turn = letter === "X" ? 45 : 0;
    const plus = [[b, a], [b, b], [a, b], [a, -b], [b, -b], [b, -a], [-b, -a], [-b, -b], [-a, -b], [-a, b], [-b, b], [-b, a]];
    return closed(plus.map(([x, y]) => at(Math.hypot(x, y), (Math.atan2(y, x) * 180) / Math.PI + turn)));
  }
  return `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`;
}

// An axis: where values lie between 0 and 1, and its ticks.
function axisOf(values, { log = null, padded = true, zero = false } = {}) {
  const finite = values.filter(Number.isFinite);
  let low = Math.min(...finite), high = Math.max(...finite);
  if (!finite.length) [low, high] = [0, 1];
  const isLog = log ?? (low > 0 && high > WIDE_RANGE * low);
  if (isLog) {
    [low, high] = padded ? [low / 1.4, high * 1.6] : [low, high];
    const place = (value) => Math.log(value / low) / Math.log(high / low);
    const decades = Math.log10(high / low), ticks = [];
    const steps = decades < 1 ? [1, 1.5, 2, 3, 4, 5, 7] : decades < 2.5 ? [1, 2, 5] : [1];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
      for (const step of steps) ticks.push(step * 10 ** power);
    }
    return { place, ticks: ticks.filter((tick) => tick >= low && tick <= high) };
  }
  if (zero && low > 0) low = 0;
  const room = padded ? 0.08 * (high - low || Math.abs(high) || 1) : 0;
  [low, high] = [zero && low === 0 ? 0 : low - room, high + 2 * room || 1];
  const raw = (high - low) / 5, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= raw) * power;
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + 1e-9 * step; tick += step) ticks.push(Math.abs(tick) < 1e-9 * step ? 0 : tick);
  return { place: (value) => (value - low) / (high - low), ticks };
}

const plainNumber = (value) => String(Number(value.toPrecision(4)));

// Draw a chart: { label, xLabel, yLabel, points: [{x, y, xs, ys, color, marker, name, tip, family, open}],
// lines: [{points, color, width, dash, name, family}], equal, ticks }. Bars are xs and ys, two ends each.
function chart(spec, width = 560, height = 400) {
  const svg = svgElement("svg", { viewBox: `0 0 ${width} ${height}`, width: "100%", role: "img", "aria-label": spec.label });
  const numbers = (axis, bars) => [
    ...spec.points.flatMap((point) => [point[axis], ...(point[bars] ?? [])]),
    ...(spec.lines ?? []).flatMap((line) => line.points.map((point) => point[axis === "x" ? 0 : 1])),
  ];
  // Long bars do not stretch an axis beyond what the points need, twice.
  const clipped = (axis, bars) => {
    const own = spec.points.map((point) => point[axis]).filter((value) => value > 0);
    const low = Math.min(...own) / 2, high = Math.max(...own) * 2;
    return numbers(axis, bars).map((value) => (own.length && bars ? Math.min(Math.max(value, Math.min(low, value > 0 ? low : value)), high) : value));
  };
  const xs = spec.plain ? numbers("x") : clipped("x", "xs"), ys = spec.plain ? numbers("y") : clipped("y", "ys");
  const both = spec.equal ? [...xs, ...ys] : null;
  const x = axisOf(both ?? xs, { log: spec.plain ? false : spec.xLog ?? null, padded: !spec.tight });
  const y = axisOf(both ?? ys, { log: spec.plain ? false : spec.yLog ?? null, zero: !spec.plain });
  const left = (value) => MARGIN.left + x.place(value) * (width - MARGIN.left - MARGIN.right);
  const top = (value) => height - MARGIN.bottom - y.place(value) * (height - MARGIN.bottom - MARGIN.top);
  const frame = svgElement("g", { class: "frame" }, svg);
  const ticks = spec.xTicks ?? x.ticks.map((tick) => [tick, plainNumber(tick)]);
  for (const [value, text] of ticks) {
    svgElement("line", { x1: left(value), x2: left(value), y1: MARGIN.top, y2: height - MARGIN.bottom, class: "grid" }, frame);
    svgElement("text", { x: left(value), y: height - MARGIN.bottom + 16, "text-anchor": "middle" }, frame).textContent = text;
  }
  for (const tick of y.ticks) {
    svgElement("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: top(tick), y2: top(tick), class: "grid" }, frame);
    svgElement("text", { x: MARGIN.left - 6, y: top(tick) + 4, "text-anchor": "end" }, frame).textContent = plainNumber(tick);
  }
  svgElement("path", { d: `M${MARGIN.left} ${MARGIN.top}V${height - MARGIN.bottom}H${width - MARGIN.right}`, class: "axis" }, frame);
  svgElement("text", { x: (MARGIN.left + width - MARGIN.right) / 2, y: height - 8, "text-anchor": "middle", class: "label" }, frame).textContent = spec.xLabel;
  svgElement("text", { transform: `translate(14 ${(MARGIN.top + height - MARGIN.bottom) / 2}) rotate(-90)`, "text-anchor": "middle", class: "label" }, frame).textContent = spec.yLabel;
  const inside = svgElement("svg", { x: MARGIN.left, y: 0, width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.bottom, viewBox: `${MARGIN.left} 0 ${width - MARGIN.left - MARGIN.right} ${height - MARGIN.bottom}`, overflow: spec.tight ? "hidden" : "hidden" }, svg);
  for (const line of spec.lines ?? []) {
    const drawn = line.points.map(([a, b]) => (Number.isFinite(a) && Number.isFinite(b) ? `${left(a).toFixed(1)} ${top(b).toFixed(1)}` : null));
    let path = "", up = true;
    for (const point of drawn) { if (point === null) { up = true; continue; } path += (up ? "M" : "L") + point; up = false; }
    const own = svgElement("path", { d: path, fill: "none", stroke: line.color, "stroke-width": line.width ?? 1.5, "stroke-dasharray": line.dash ?? "none" }, inside);
    if (line.family) own.dataset.family = line.family;
  }
  for (const point of spec.points) drawPoint(inside, point, left, top, spec.radius ?? 6);
  if (spec.points.length <= MOST_NAMED) namePoints(svg, spec.points, left, top, width);
  return svg;
}

function drawPoint(parent, point, left, top, radius) {
  const group = svgElement("g", point.family ? { "data-family": point.family } : {}, parent);
  const { x, y } = point;
  if (point.xs) svgElement("path", { d: `M${left(point.xs[0])} ${top(y)}H${left(point.xs[1])}`, stroke: point.color }, group);
  if (point.ys) svgElement("path", { d: `M${left(x)} ${top(point.ys[0])}V${top(point.ys[1])}`, stroke: point.color }, group);
  const mark = svgElement("path", { d: markerPath(point.marker, radius), fill: point.color, stroke: "#fff", "stroke-width": radius > 4 ? 0.8 : 0,
    "fill-opacity": point.opacity ?? 1, transform: `translate(${left(x).toFixed(1)} ${top(y).toFixed(1)})`, class: "mark" }, group);
  tells(mark, point.tip);
  if (point.open) opens(mark, point.open);
}

// Write names beside their points, where they cover nothing.
function namePoints(svg, points, left, top, width) {
  const taken = points.map((point) => [left(point.x) - 7, top(point.y) - 7, left(point.x) + 7, top(point.y) + 7]);
  for (const point of points.filter((one) => one.name)) {
    const length = 6.4 * point.name.length, [x, y] = [left(point.x), top(point.y)];
    const places = [-4, 12, -16, 24].flatMap((up) => [[x + 9, y + up, "start", x + 9], [x - 9, y + up, "end", x - 9 - length]]);
    const covers = places.map(([, base, , from]) => {
      const box = [from, base - 10, from + length, base + 3];
      const hits = taken.filter((other) => other[0] < box[2] && box[0] < other[2] && other[1] < box[3] && box[1] < other[3]).length;
      return [hits + (from < MARGIN.left || from + length > width ? 3 : 0) + (base < 8 ? 3 : 0), box];
    });
    const best = covers.findIndex(([hits]) => hits === Math.min(...covers.map(([count]) => count)));
    taken.push(covers[best][1]);
    const [at, base, anchor] = places[best];
    const text = svgElement("text", { x: at, y: base, "text-anchor": anchor, class: "name" }, svg);
    text.textContent = point.name;
    if (point.family) text.dataset.family = point.family;
  }
}
