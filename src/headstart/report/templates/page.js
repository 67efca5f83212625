// The script of the page, a template: texts are in the reader's language.
"use strict";
document.querySelectorAll("[data-turns]").forEach(turns => turns.addEventListener("change", event => {
  turns.querySelectorAll("input").forEach(input => {
    document.querySelector(`[data-turn="${turns.dataset.turns}-${input.value}"]`).hidden = input !== event.target;
  });
}));
const runs = JSON.parse(document.getElementById("snapshots").textContent);
const [pickRun, pickLayer, pickKind] = ["pick-run", "pick-layer", "pick-kind"].map(id => document.getElementById(id));
const make = (name, attributes, text = "") => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
  element.textContent = text;
  return element;
};
const neverFinite = {weights: {{ _("The weights of this layer were never finite.") | script }}, gradients: {{ _("The gradients of this layer were never finite.") | script }}};
const options = (select, names) => select.replaceChildren(...names.map((name, index) => new Option(name, index)));
function layers() {
  const before = pickLayer.selectedOptions[0]?.text, names = Object.keys(runs[pickRun.value].weights);
  options(pickLayer, names);
  pickLayer.value = Math.max(0, names.indexOf(before));
  draw();
}
function draw() {
  const kind = pickKind.querySelector(":checked").value, layer = pickLayer.selectedOptions[0]?.text;
  const ridges = runs[pickRun.value][kind][layer], place = document.getElementById("ridges"), table = document.getElementById("bins");
  table.hidden = !ridges;
  if (!ridges) { place.textContent = ridges === null ? neverFinite[kind] : layer ? {{ _("No gradients: the layer is frozen.") | script }} : {{ _("Nothing was recorded.") | script }}; return; }
  const time = row => !ridges.epochs[row] ? {{ _("step {step}", step="${ridges.steps[row]}") | script }} : {{ _("epoch {epoch}, step {step}", epoch="${ridges.epochs[row]}", step="${ridges.steps[row]}") | script }};
  const bytes = Uint8Array.from(atob(ridges.rows), c => c.charCodeAt(0)), count = ridges.steps.length, bins = bytes.length / count;
  const gap = 22, tall = 60, height = tall + gap * count + 34, left = 130, right = 700;
  const description = kind === "weights" ? {{ _("weights of {layer}; steps: {count}", layer="${layer}", count="${count}") | script }} : {{ _("gradients of {layer}; steps: {count}", layer="${layer}", count="${count}") | script }};
  const svg = make("svg", {class: "wide", viewBox: `0 0 720 ${height}`, role: "img", "aria-label": description});
  for (let row = count - 1; row >= 0; row--) {
    const base = tall + gap * (count - row), points = [];
    for (let bin = 0; bin < bins; bin++) points.push(`${(left + (right - left) * (bin + .5) / bins).toFixed(1)},${(base - tall * bytes[row * bins + bin] / 255).toFixed(1)}`);
    svg.append(make("polygon", {points: `${left},${base} ${points.join(" ")} ${right},${base}`, class: "ridge"}));
    svg.append(make("text", {x: left - 8, y: base, "text-anchor": "end", class: "note"}, time(row)));
  }
  [[ridges.low, left, "start"], [ridges.high, right, "end"]].forEach(([value, x, anchor]) =>
    svg.append(make("text", {x, y: height - 10, "text-anchor": anchor, class: "note"}, value.toPrecision(3))));
  place.replaceChildren(svg);
  if (ridges.non_finite) place.append(Object.assign(document.createElement("p"), {className: "note", textContent: {{ _("Snapshots without a finite value, not drawn: {count}.", count="${ridges.non_finite}") | script }}}));
  const from = bin => (ridges.low + (ridges.high - ridges.low) * bin / bins).toPrecision(3), numbers = document.createElement("table");
  const squares = ridges.steps.map((_, row) => Array.from(bytes.slice(row * bins, row * bins + bins), height => height ** 2));
  const shares = squares.map(row => row.map(square => (100 * square / row.reduce((sum, other) => sum + other)).toFixed(1)));
  const rows = [[{{ _("from") | script }}, {{ _("to") | script }}, ...ridges.steps.map((_, row) => time(row))], ...Array.from({length: bins}, (_, bin) => [from(bin), from(bin + 1), ...shares.map(row => row[bin])])];
  rows.forEach((row, at) => row.forEach(text => (numbers.rows[at] || numbers.insertRow()).append(Object.assign(document.createElement(at ? "td" : "th"), {textContent: text, ...(at ? {} : {scope: "col"})}))));
  table.querySelector(".scroll").replaceChildren(numbers);
}
const cells = JSON.parse(document.getElementById("cells").textContent);
document.querySelectorAll("[data-cell]").forEach(button => button.addEventListener("click", () => {
  const list = document.createElement("ul"), title = document.createElement("h3"), ids = cells.cells[button.dataset.cell] || [];
  title.textContent = button.getAttribute("aria-label");
  list.className = "gallery";
  ids.forEach(id => {
    const photo = cells.photos[id], item = document.createElement("li"), picture = new Image(96, 96);
    const [text, key] = [photo.text, photo.key].map(words => Object.assign(document.createElement("span"), {textContent: words}));
    picture.src = photo.src; picture.alt = photo.text; key.className = "note"; item.title = `${photo.text} ${photo.key}`;
    item.append(picture, text, " ", key); list.append(item);
  });
  if (!ids.length) list.textContent = {{ _("The page has no photos of this cell, to limit its size.") | script }};
  document.getElementById("cell").replaceChildren(title, list);
  const more = Number(button.dataset.more), paths = cells.more[button.dataset.cell] || [];
  if (more) {
    const folded = document.createElement("details"), all = document.createElement("ul"), item = text => Object.assign(document.createElement("li"), {textContent: text});
    folded.append(Object.assign(document.createElement("summary"), {textContent: {{ _("+{count} more", count="${more}") | script }}}), all);
    all.className = "paths"; all.append(...paths.map(item));
    if (button.dataset.unlisted) all.append(item(button.dataset.unlisted));
    document.getElementById("cell").append(folded);
  }
  document.getElementById("cell").scrollIntoView({block: "nearest"});
}));
if (runs.length) {
  options(pickRun, runs.map(run => run.name));
  pickRun.addEventListener("change", layers);
  pickLayer.addEventListener("change", draw);
  pickKind.addEventListener("change", draw);
  layers();
}
const overflow = new ResizeObserver(entries => entries.forEach(({target}) => {
  const scrolls = target.scrollWidth > target.clientWidth + 1;  // then it must be reachable by keyboard
  Object.entries({tabindex: 0, role: "group", "aria-label": {{ _("Scrolls sideways") | script }}}).forEach(([name, value]) => scrolls ? target.setAttribute(name, value) : target.removeAttribute(name));
}));
document.querySelectorAll(".scroll").forEach(element => overflow.observe(element));
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(element => element.open = true));
