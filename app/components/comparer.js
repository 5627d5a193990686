// The comparison. gr.HTML gives: element, props, watch. The value is `ComparerValue` of comparer.py.
const $ = (selector) => element.querySelector(selector);
const root = $(".comparer"), pictures = $(".pictures"), cutter = $(".cutter"), whole = $(".enlarged"), result = $(".result");
const sides = ["a", "b"].map((name) => ({ side: $(`.side.${name}`), caption: $(`.caption.${name}`) }));
const modes = [...element.querySelectorAll("[data-mode]")];
const CROP = 30; // pixels
const AIR = 1.25; // of a crop, around its object
const MAX_ZOOM = 12;

let view = { zoom: 1, x: 0, y: 0 }; // x, y: the fraction of the picture at the frame's corner
let lit = -1; // the object that is pointed at
const clamp = (number, low, high) => Math.max(low, Math.min(high, number));
const value = () => props.value ?? { sides: [], objects: [], table: "" };

function fill(node, html) { // leaves a node alone whose content stays: what is pointed at there stays, too
  if (node.content === html) return;
  node.content = node.innerHTML = html;
}

function show() {
  const { sides: shown, table, ratio, progress } = value();
  root.style.setProperty("--ratio", ratio || 1);
  shown.forEach(({ image, preview, marks, caption }, place) => {
    const { side, caption: words } = sides[place], img = side.querySelector("img"), link = words.querySelector("a");
    const address = image?.url ?? preview;
    side.classList.toggle("busy", progress !== null && progress !== undefined);
    img.hidden = !address;
    if (address && img.getAttribute("src") !== address) img.src = address;
    fill(side.querySelector(".marks"), marks);
    side.querySelector(".progress i").style.width = `${100 * (progress || 0)}%`;
    fill(words.querySelector("span"), caption);
    link.hidden = !image;
    if (image) Object.assign(link, { href: image.url, download: image.orig_name ?? "picture.png" });
  });
  fill(result, table);
  crops();
  point(-1);
}

// ---- crops: the object of each row, cut from both pictures --------------------------------------------------------------
function crops() {
  const { sides: shown, objects, ratio } = value();
  for (const cell of result.querySelectorAll(".crops i")) {
    const [x1, y1, x2, y2] = objects[cell.closest("tr").dataset.index].box, address = shown[cell.dataset.side].image?.url;
    const height = CROP / (AIR * Math.max(y2 - y1, (x2 - x1) * ratio)), width = height * ratio; // of the whole picture
    const left = CROP / 2 - ((x1 + x2) / 2) * width, top = CROP / 2 - ((y1 + y2) / 2) * height;
    cell.style.background = address ? `${left}px ${top}px / ${width}px ${height}px no-repeat url("${address}")` : "";
  }
}

// ---- how both are shown -------------------------------------------------------------------------------------------------
function choose(mode) {
  root.dataset.mode = mode;
  root.classList.toggle("overlaid", mode !== "beside");
  root.classList.remove("second");
  for (const button of modes) button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
}

function flicker() {
  if (root.dataset.mode !== "flicker") choose("flicker");
  root.classList.toggle("second");
}

for (const button of modes) button.addEventListener("click", () => choose(button.dataset.mode));
cutter.addEventListener("input", () => root.style.setProperty("--cut", `${cutter.value / 10}%`));

// ---- linked zoom --------------------------------------------------------------------------------------------------------
function look(zoom, x, y) {
  const rest = 1 - 1 / zoom;
  view = { zoom, x: clamp(x, 0, rest), y: clamp(y, 0, rest) };
  for (const [name, number] of Object.entries(view)) root.style.setProperty(`--${name}`, number);
  whole.hidden = zoom === 1;
  whole.textContent = `${Math.round(zoom * 100)} %`;
}

function zoomAbout(factor, u = 0.5, v = 0.5) { // u, v: where in the frame the picture stays in place
  const zoom = clamp(view.zoom * factor, 1, MAX_ZOOM);
  look(zoom, view.x + u / view.zoom - u / zoom, view.y + v / view.zoom - v / zoom);
}

function closeUp(index) { // or back, where it is that close already
  const [x1, y1, x2, y2] = value().objects[index].box, zoom = clamp(0.7 / Math.max(x2 - x1, y2 - y1), 1, MAX_ZOOM);
  const before = { ...view };
  look(zoom, (x1 + x2 - 1 / zoom) / 2, (y1 + y2 - 1 / zoom) / 2);
  if (before.zoom === view.zoom && before.x === view.x && before.y === view.y) look(1, 0, 0);
}

function place(event) { // in a frame: [u, v] as fractions of it; null outside
  const hit = sides.map(({ side }) => side.querySelector(".frame").getBoundingClientRect())
    .find((frame) => event.clientX >= frame.left && event.clientX < frame.right && event.clientY >= frame.top && event.clientY < frame.bottom);
  return hit ? [(event.clientX - hit.left) / hit.width, (event.clientY - hit.top) / hit.height, hit] : null;
}

pictures.addEventListener("wheel", (event) => {
  const at = place(event);
  if (!at || (!event.ctrlKey && !event.metaKey && view.zoom === 1)) return; // the page scrolls
  event.preventDefault();
  if (event.ctrlKey || event.metaKey) zoomAbout(Math.exp(-clamp(event.deltaY, -60, 60) / 200), at[0], at[1]);
  else look(view.zoom, view.x + event.deltaX / at[2].width / view.zoom, view.y + event.deltaY / at[2].height / view.zoom);
}, { passive: false });

let held = null; // where a drag began
pictures.addEventListener("pointerdown", (event) => {
  if (event.target === cutter || event.target === whole || event.button) return;
  held = { x: event.clientX, y: event.clientY, view, moved: false };
  pictures.setPointerCapture(event.pointerId);
});
pictures.addEventListener("pointermove", (event) => {
  const at = place(event);
  if (!held) return point(at ? objectAt(view.x + at[0] / view.zoom, view.y + at[1] / view.zoom) : -1);
  held.moved ||= Math.hypot(event.clientX - held.x, event.clientY - held.y) > 3;
  if (!held.moved || !at) return;
  const { zoom, x, y } = held.view;
  look(zoom, x - (event.clientX - held.x) / at[2].width / zoom, y - (event.clientY - held.y) / at[2].height / zoom);
});
pictures.addEventListener("pointerup", (event) => {
  const still = held && !held.moved;
  held = null;
  if (!still) return;
  pictures.focus({ preventScroll: true });
  if (root.dataset.mode === "flicker") return flicker();
  const at = place(event), index = at ? objectAt(view.x + at[0] / view.zoom, view.y + at[1] / view.zoom) : -1;
  if (index >= 0) closeUp(index);
});
pictures.addEventListener("pointercancel", () => { held = null; });
pictures.addEventListener("pointerleave", () => { if (!held) point(-1); });
whole.addEventListener("click", () => look(1, 0, 0));

pictures.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target === cutter) return;
  const step = 0.1 / view.zoom;
  const act = {
    f: flicker, "+": () => zoomAbout(1.4), "=": () => zoomAbout(1.4), "-": () => zoomAbout(1 / 1.4), 0: () => look(1, 0, 0),
    Escape: () => look(1, 0, 0),
    ArrowLeft: () => look(view.zoom, view.x - step, view.y), ArrowRight: () => look(view.zoom, view.x + step, view.y),
    ArrowUp: () => look(view.zoom, view.x, view.y - step), ArrowDown: () => look(view.zoom, view.x, view.y + step),
  }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

// ---- a row and its box --------------------------------------------------------------------------------------------------
function objectAt(x, y) { // the smallest one there, of those in the table; -1: none
  const size = ([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1);
  return [...result.querySelectorAll("tr[data-index]")].map((row) => Number(row.dataset.index))
    .filter((index) => { const [x1, y1, x2, y2] = value().objects[index].box; return x >= x1 && x < x2 && y >= y1 && y < y2; })
    .sort((one, other) => size(value().objects[one].box) - size(value().objects[other].box))[0] ?? -1;
}

function point(index) {
  if (index === lit && index !== -1) return;
  lit = index;
  for (const row of result.querySelectorAll("tr[data-index]")) row.classList.toggle("lit", Number(row.dataset.index) === index);
  for (const { side } of sides) {
    const spot = side.querySelector(".spot");
    spot.hidden = index < 0;
    if (index < 0) continue;
    const [x1, y1, x2, y2] = value().objects[index].box.map((number) => `${100 * number}%`);
    Object.assign(spot.style, { left: x1, top: y1, width: `calc(${x2} - ${x1})`, height: `calc(${y2} - ${y1})` });
  }
}

const rowOf = (event) => event.target.closest?.("tr[data-index]");
for (const kind of ["pointerover", "focusin"]) {
  result.addEventListener(kind, (event) => point(Number(rowOf(event)?.dataset.index ?? -1)));
}
for (const kind of ["pointerleave", "focusout"]) result.addEventListener(kind, () => point(-1));
result.addEventListener("click", (event) => { if (rowOf(event)) closeUp(rowOf(event).dataset.index); });
result.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && rowOf(event)) closeUp(rowOf(event).dataset.index);
  if (event.key === "Escape") look(1, 0, 0);
});

choose("beside");
look(1, 0, 0);
show();
watch("value", show);
