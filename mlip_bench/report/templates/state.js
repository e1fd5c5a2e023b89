// What the reader has chosen is kept in the address, after the #, so that a link shows the same again.

const state = new URLSearchParams(location.hash.slice(1));
const onState = [];

function remember(key, value) {
  if (value === null || value === undefined || value === "") state.delete(key);
  else state.set(key, value);
  const hash = state.toString();
  history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
}

// What shows a part of the state registers how; it is called once at the beginning, and when the address changes.
function shows(part) {
  onState.push(part);
}

function showState() {
  for (const part of onState) part();
}

window.addEventListener("hashchange", () => {
  // Links to a figure or a section of the page are no state.
  if (!location.hash.includes("=") && location.hash.length > 1) return;
  for (const key of [...state.keys()]) state.delete(key);
  for (const [key, value] of new URLSearchParams(location.hash.slice(1))) state.set(key, value);
  showState();
});
