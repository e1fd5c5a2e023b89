// What the whole page does: tips under the pointer, families on and off, saving, light and dark.

const tip = document.getElementById("tip");

function tells(element, text) {
  element.classList.add("point");
  element.setAttribute("aria-label", text);
  element.addEventListener("pointermove", (event) => {
    tip.textContent = text;
    tip.style.display = "block";
    tip.style.left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8) + "px";
    tip.style.top = event.clientY + 16 + "px";
    // In front of a dialog that is open.
    (document.querySelector("dialog[open]") ?? document.body).append(tip);
  });
  element.addEventListener("pointerleave", () => { tip.style.display = "none"; });
}

for (const point of document.querySelectorAll("figure .point")) {
  // The tip replaces the browser's own, which appears late.
  const title = point.querySelector("title");
  tells(point, title.textContent);
  title.remove();
  const name = title.textContent.split(": ")[0];
  if (DATA.potentials.includes(name)) opens(point, name);
}

function showFamilies() {
  const off = new Set((state.get("off") ?? "").split(",").filter(Boolean));
  for (const box of document.querySelectorAll(".families input")) box.checked = !off.has(box.value);
  for (const item of document.querySelectorAll("[data-family]")) item.classList.toggle("off", off.has(item.dataset.family));
}

for (const box of document.querySelectorAll(".families input")) {
  box.addEventListener("change", () => {
    const off = [...document.querySelectorAll(".families input")].filter((one) => !one.checked).map((one) => one.value);
    remember("off", off.join(","));
    showFamilies();
  });
}
shows(showFamilies);

function save(parts, type, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(parts, { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

const quoted = (text) => `"${text.replaceAll('"', '""').trim()}"`;

for (const button of document.querySelectorAll(".save")) {
  button.addEventListener("click", () => {
    const { name } = button.dataset;
    if (button.dataset.save === "svg") {
      const svg = button.closest("figure").querySelector("svg");
      save([new XMLSerializer().serializeToString(svg)], "image/svg+xml", `${name}.svg`);
    } else {
      const place = button.closest("figure, .tabled");
      const lines = [...place.querySelector("table").rows].map((row) => [...row.cells].map((cell) => quoted(cell.textContent)).join(","));
      save([lines.join("\n") + "\n"], "text/csv", `${name}.csv`);
    }
  });
}

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  root.dataset.theme = getComputedStyle(root).colorScheme === "dark" ? "light" : "dark";
});

showState();
