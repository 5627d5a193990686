// ---- drawing: the SVG is drawn in CSS pixels, so it stays sharp ---------------------------------------------------------
const HANDLES = [[0, 0], [1, 0], [0, 1], [1, 1], [0.5, 0], [0.5, 1], [0, 0.5], [1, 0.5]];
const REACH = matchMedia("(pointer: coarse)").matches ? 20 : 11; // pixels around a handle
let guides = [], band = null, drawn = 0;

function node(name, attributes, text) {
  const made = document.createElementNS(svg.namespaceURI, name);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  if (text !== undefined) made.textContent = text;
  return made;
}

const ruler = document.createElement("canvas").getContext("2d"), widths = new Map();
function textWidth(text) {
  if (!widths.has(text)) {
    ruler.font = getComputedStyle(svg).font;
    widths.set(text, ruler.measureText(text).width);
  }
  return widths.get(text);
}

const classesOf = (object) => [object.attribute, selection.has(object.id) && "selected", object.locked && "locked"].filter(Boolean).join(" ");

function drawShape(object) {
  const frame = pixels(object.box), group = node("g", { class: `box ${classesOf(object)}`, "data-id": object.id, role: "img", "aria-label": said(object) });
  group.append(node("title", {}, `${object.label}, ${object.attribute}${object.locked ? ", locked" : ""}`));
  group.append(node("rect", { class: "area", ...frame }), node("rect", { class: "edge", ...frame }));
  return group;
}

function drawLabel(object) {
  const frame = pixels(object.box), [width] = stage(), room = object.locked ? 14 : 0; // of the sign for locked
  const full = `${object.label} · ${object.difficulty ?? object.attribute}`;
  const text = textWidth(full) + room + 16 <= frame.width ? full : object.label, wide = textWidth(text) + room + 12;
  const x = clamp(frame.x, 0, Math.max(0, width - wide)), y = frame.height >= 30 || frame.y < 18 ? frame.y : frame.y - 18;
  const group = node("g", { class: `label ${object.attribute}`, "data-id": object.id, transform: `translate(${x} ${y})` });
  group.append(node("rect", { width: wide, height: 18, rx: 2 }), node("text", { x: 6 + room, y: 13 }, text));
  if (object.locked) group.append(node("path", { class: "sign", d: "M6 8.5h8v6H6zM7.7 8.5V6.7a2.3 2.3 0 0 1 4.6 0v1.8" }));
  return group;
}

function drawHandles({ box }) {
  const { x, y, width, height } = pixels(box);
  const corners = width < 34 || height < 34 ? HANDLES.slice(0, 4) : HANDLES;
  return corners.map(([u, v]) => {
    const kind = u === 0.5 ? "ns" : v === 0.5 ? "ew" : u === v ? "nwse" : "nesw";
    const group = node("g", { class: `handle ${kind}`, "data-handle": `${u},${v}` });
    const cx = x + u * width, cy = y + v * height;
    group.append(node("circle", { class: "reach", cx, cy, r: REACH }));
    group.append(node("rect", { x: cx - 4, y: cy - 4, width: 8, height: 8, rx: 2 }));
    return group;
  });
}

function drawGuide({ axis, at }) {
  const { x, y, width, height } = pixels([0, 0, 1, 1]);
  const line = axis === "x" ? { x1: x + at * width, x2: x + at * width, y1: y, y2: y + height }
    : { y1: y + at * height, y2: y + at * height, x1: x, x2: x + width };
  return node("line", { class: "guide", ...line });
}

// What an object looks like is made anew only where it changed, so that one of a hundred moves as smoothly as one of ten.
const pictures = new Map(); // id -> { of, shape, label }
function pictureOf(object) {
  const of = JSON.stringify([classesOf(object), object.label, object.box, view, stage(), said(object)]), kept = pictures.get(object.id);
  if (kept?.of === of) return kept;
  const picture = { of, shape: drawShape(object), label: drawLabel(object) };
  pictures.set(object.id, picture);
  return picture;
}

function lay(layers) { // as the children of the canvas; what is there already stays
  const wanted = new Set(layers);
  layers.forEach((layer, at) => {
    const there = svg.childNodes[at];
    if (there === layer) return;
    if (there && !wanted.has(there)) there.replaceWith(layer);
    else svg.insertBefore(layer, there ?? null);
  });
  while (svg.childNodes.length > layers.length) svg.lastChild.remove();
}

// Once a frame, however often it is asked for.
function draw() {
  if (!drawn) drawn = requestAnimationFrame(paint);
}

function paint() {
  drawn = 0;
  const frame = $(".canvas").style, [width, height] = stage(), ground = pixels([0, 0, 1, 1]);
  frame.setProperty("--aspect-x", Math.min(1, layout.width / layout.height));
  frame.setProperty("--aspect-y", Math.min(1, layout.height / layout.width));
  svg.setAttribute("viewBox", `0 0 ${width || 1} ${height || 1}`);
  svg.style.setProperty("--grid", `${(Math.max(width, height) * view.zoom) / 16}px`);
  svg.style.setProperty("--grid-at", `${ground.x}px ${ground.y}px`);
  const shown = layout.objects.filter(({ hidden }) => !hidden);
  const order = [...shown.filter((object) => !isThing(object)), ...shown.filter(isThing)];
  const layers = props.backdrop ? [node("image", { class: "backdrop", href: props.backdrop, preserveAspectRatio: "none", ...ground })] : [];
  const seen = order.map(pictureOf);
  layers.push(...seen.map(({ shape }) => shape), ...seen.map(({ label }) => label), ...guides.map(drawGuide));
  if (pictures.size > layout.objects.length) for (const id of pictures.keys()) if (!byId(id)) pictures.delete(id);
  if (current() && !current().hidden && !current().locked) layers.push(...drawHandles(current()));
  if (band) layers.push(node("rect", { class: "band", ...pixels(band) }));
  lay(layers);
  svg.classList.toggle("armed", mode === "draw");
  showState();
  showPalette();
  showList();
}

// ---- around the drawing ----
function setText(selector, text) {
  const target = $(selector);
  if (target.textContent !== text) target.textContent = text;
}

function showState() {
  const objects = picked(), count = layout.objects.length;
  const hidden = layout.objects.filter((object) => object.hidden).length, locked = layout.objects.filter((object) => object.locked).length;
  $(".empty").hidden = count > 0;
  const caption = $(".caption");
  caption.hidden = !props.captions && !layout.caption;
  if (document.activeElement !== caption) caption.value = layout.caption;
  const labels = new Set(objects.map(({ label }) => label)), tags = new Set(objects.map(({ attribute }) => attribute));
  setText(".class-name", objects.length ? (labels.size === 1 ? [...labels][0] : `${labels.size} classes`) : pen.label);
  TAGS.forEach((name) => {
    const button = $(`[data-tag=${name}]`);
    button.setAttribute("aria-pressed", String(objects.length ? tags.has(name) && tags.size === 1 : name === pen.tag));
    Object.assign(button, { disabled: Boolean(props.untagged), title: props.untagged });
  });
  showDifficulty();
  for (const button of element.querySelectorAll("[data-tag-all]")) button.disabled = Boolean(props.untagged) || !layout.objects.some(isThing);
  for (const name of ["draw", "select"]) $(`[data-action=${name}]`).setAttribute("aria-pressed", String(mode === name));
  $("[data-action=lock]").setAttribute("aria-pressed", String(objects.length > 0 && objects.every((object) => object.locked)));
  $("[data-action=undo]").disabled = !past.length;
  $("[data-action=redo]").disabled = !future.length;
  for (const name of ["duplicate", "delete", "forward", "backward"]) $(`[data-action=${name}]`).disabled = !objects.length;
  $("[data-action=hide]").disabled = !objects.length && !hidden;
  $("[data-action=lock]").disabled = !objects.length && !locked;
  const facts = [`${count} ${count === 1 ? "object" : "objects"}`];
  if (selection.size > 1) facts.push(`${selection.size} selected`);
  if (hidden) facts.push(`${hidden} hidden`);
  if (locked) facts.push(`${locked} locked`);
  setText(".state", facts.join(" · "));
  setText(".size", `${layout.width} × ${layout.height}`);
  setText(".zoom", view.zoom === 1 ? "" : `${Math.round(100 * view.zoom)} %`);
  setText(".spoken", spoken());
}

const gradeOf = ({ difficulty, attribute }) => difficulty ?? (attribute === "hard" ? 1 : 0);

function showDifficulty() { // of the first thing that is selected
  const [object] = graded(), place = $(".difficulty");
  place.hidden = !object || Boolean(props.untagged);
  if (!object) return;
  if (document.activeElement !== $(".difficulty input")) $(".difficulty input").value = gradeOf(object);
  setText(".difficulty output", gradeOf(object).toFixed(2));
}

function spoken() { // for screen readers
  const object = current();
  return object ? said(object) : selection.size ? `${selection.size} boxes selected` : "";
}

function said(object) {
  const [x1, y1, x2, y2] = object.box.map((side) => Math.round(100 * side));
  const place = `left ${x1}, top ${y1}, width ${x2 - x1}, height ${y2 - y1} per cent`;
  return `${object.label}, ${object.attribute}, box ${layout.objects.indexOf(object) + 1} of ${layout.objects.length}, ${place}`;
}

// ---- the palette: classes on the canvas with their number, then those used before ----
const palette = $(".palette");
let paletteOf = "";

function showPalette() {
  const counts = counted(), known = new Set([...props.things, ...props.stuff]);
  const labels = [...new Set([...counts.keys(), ...recent, ...props.things])].filter((label) => known.has(label) || counts.has(label)).slice(0, 14);
  const chosen = new Set(picked().map(({ label }) => label));
  const told = JSON.stringify([labels, [...counts], [...chosen], pen.pinned && pen.label]);
  if (told === paletteOf) return;
  paletteOf = told;
  palette.replaceChildren(...labels.map((label) => {
    const chip = Object.assign(document.createElement("button"), { type: "button", textContent: label });
    const count = counts.get(label), pinned = !selection.size && pen.pinned && pen.label === label;
    chip.dataset.label = label;
    chip.title = `${label}: class of the selection, or of the next boxes. Shift+click selects all of this class`;
    chip.setAttribute("aria-pressed", String(chosen.has(label) || pinned));
    if (count) chip.append(Object.assign(document.createElement("b"), { textContent: count }));
    return chip;
  }));
}

palette.addEventListener("click", (event) => {
  const label = event.target.closest("[data-label]")?.dataset.label;
  if (label) takeClass(label, { whole: event.shiftKey });
});
