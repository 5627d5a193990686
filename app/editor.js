// The layout canvas. gr.HTML gives: element, trigger, props, watch.
// The value is a layout in its public JSON form (boxes in fractions); the SVG is drawn in CSS pixels, so it stays sharp.
const $ = (selector) => element.querySelector(selector);
const svg = $(".canvas > svg"), popup = $(".popup"), query = $(".popup input"), matches = $(".popup ul"), help = $(".help");
const TAGS = ["easy", "hard", "background"];
const HANDLES = [[0, 0], [1, 0], [0, 1], [1, 1], [0.5, 0], [0.5, 1], [0, 0.5], [1, 0.5]];
const MIN_SIDE = 6; // CSS pixels: a shorter drag is a click
const HISTORY = 200;

let layout = { width: 256, height: 256, objects: [] };
let selected = -1, drag = null, armed = false, clipboard = null, past = [], future = [];
let lastLabel = props.things[0] ?? props.stuff[0], lastTag = "easy", found = [], highlighted = 0;

// ---- state ---------------------------------------------------------------------------------------------------------
const clone = (value) => JSON.parse(JSON.stringify(value));
const clamp = (value, low, high) => Math.max(low, Math.min(high, value));
const tidy = (value) => Math.round(clamp(value, 0, 1) * 1e4) / 1e4;
const current = () => layout.objects[selected];
const area = ({ box: [x1, y1, x2, y2] }) => (x2 - x1) * (y2 - y1);
const isStuff = (label) => props.stuff.includes(label);
const published = () => {
  const objects = layout.objects.map(({ label, box, attribute }) => ({ label, box, attribute }));
  return { width: layout.width, height: layout.height, objects };
};

function pull() {
  if (JSON.stringify(props.value) === JSON.stringify(published())) return draw(); // told twice
  if (layout.objects.length) remember(clone(layout));
  layout = clone(props.value);
  select(-1);
}

function remember(before) {
  past = [...past, before].slice(-HISTORY);
  future = [];
}

function publish() {
  props.value = published(); // a new object: Gradio compares identity
  trigger("commit");
  draw();
}

function change(edit) {
  const before = clone(layout);
  edit();
  if (JSON.stringify(before) === JSON.stringify(layout)) return draw();
  remember(before);
  publish();
}

function travel(from, to) {
  if (!from.length) return;
  to.push(clone(layout));
  layout = from.pop();
  selected = -1;
  closePopup();
  publish();
}

// ---- actions -------------------------------------------------------------------------------------------------------
function select(index) {
  selected = index;
  closePopup();
  draw();
}

function add(object) {
  change(() => { selected = layout.objects.push(object) - 1; });
}

function tag(attribute) {
  if (props.untagged) return;
  lastTag = attribute;
  if (current()) change(() => { current().attribute = attribute; });
  else draw();
}

function classify(label) {
  lastLabel = label;
  if (!current()) return draw();
  const swapsKind = isStuff(label) !== (current().attribute === "background");
  change(() => {
    current().label = label;
    if (swapsKind) current().attribute = isStuff(label) ? "background" : "easy";
  });
  lastTag = current().attribute;
}

function remove() {
  if (!current()) return;
  closePopup();
  change(() => { layout.objects.splice(selected, 1); selected = -1; });
}

function shifted([x1, y1, x2, y2], dx, dy) {
  const moveX = clamp(dx, -x1, 1 - x2), moveY = clamp(dy, -y1, 1 - y2);
  return [x1 + moveX, y1 + moveY, x2 + moveX, y2 + moveY].map(tidy);
}

function paste(object) {
  if (object) add({ ...clone(object), box: shifted(object.box, 0.04, 0.04), hidden: false });
}

function nudge(dx, dy) {
  change(() => { current().box = shifted(current().box, dx / layout.width, dy / layout.height); });
}

function cycle(step) {
  const count = layout.objects.length;
  if (count) select(selected < 0 ? (step > 0 ? 0 : count - 1) : (selected + step + count) % count);
}

function save() {
  const href = URL.createObjectURL(new Blob([JSON.stringify(published(), null, 2)], { type: "application/json" }));
  Object.assign(document.createElement("a"), { href, download: "layout.json" }).click();
  URL.revokeObjectURL(href);
}

const ACTIONS = {
  draw: () => { armed = !armed; draw(); },
  fill: () => {
    const label = isStuff(lastLabel) ? lastLabel : (props.stuff[0] ?? lastLabel);
    add({ label, box: [0, 0, 1, 1], attribute: "background" });
    openPopup();
  },
  undo: () => travel(past, future),
  redo: () => travel(future, past),
  duplicate: () => paste(current()),
  copy: () => { clipboard = clone(current() ?? clipboard); },
  paste: () => paste(clipboard),
  hide: () => {
    if (current() && !current().hidden) current().hidden = true;
    else layout.objects.forEach((object) => { object.hidden = false; });
    select(-1);
  },
  delete: remove,
  next: () => cycle(1),
  previous: () => cycle(-1),
  release: () => { help.hidden = true; armed = false; select(-1); },
  class: () => (popup.hidden ? openPopup() : closePopup()),
  help: () => { help.hidden = !help.hidden; },
  save,
};
const KEYS = {
  n: "draw", b: "fill", h: "hide", l: "class", "[": "previous", "]": "next",
  Delete: "delete", Backspace: "delete", Escape: "release",
};
const CTRL_KEYS = { z: "undo", y: "redo", d: "duplicate", c: "copy", v: "paste" };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// ---- drawing -------------------------------------------------------------------------------------------------------
function node(name, attributes, text) {
  const made = document.createElementNS(svg.namespaceURI, name);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  if (text !== undefined) made.textContent = text;
  return made;
}

const pen = document.createElement("canvas").getContext("2d");
function textWidth(text) {
  pen.font = getComputedStyle(svg).font;
  return pen.measureText(text).width;
}

const size = () => [svg.clientWidth, svg.clientHeight];
function pixels([x1, y1, x2, y2]) {
  const [width, height] = size();
  return { x: x1 * width, y: y1 * height, width: (x2 - x1) * width, height: (y2 - y1) * height };
}

function drawShape(object, index) {
  const frame = pixels(object.box);
  const group = node("g", { class: `box ${object.attribute}${index === selected ? " selected" : ""}`, "data-index": index });
  group.append(node("title", {}, `${object.label}, ${object.attribute}`));
  group.append(node("rect", { class: "area", ...frame }), node("rect", { class: "edge", ...frame }));
  return group;
}

function drawLabel(object, index) {
  const frame = pixels(object.box), full = `${object.label} · ${object.attribute}`;
  const text = textWidth(full) + 16 <= frame.width ? full : object.label, width = textWidth(text) + 12;
  const x = clamp(frame.x, 0, size()[0] - width), y = frame.height >= 30 || frame.y < 18 ? frame.y : frame.y - 18;
  const group = node("g", { class: `label ${object.attribute}`, "data-index": index, transform: `translate(${x} ${y})` });
  group.append(node("rect", { width, height: 18, rx: 2 }), node("text", { x: 6, y: 13 }, text));
  return group;
}

function drawHandles({ box }) {
  const { x, y, width, height } = pixels(box);
  const corners = width < 34 || height < 34 ? HANDLES.slice(0, 4) : HANDLES;
  return corners.map(([u, v]) => {
    const kind = u === 0.5 ? "ns" : v === 0.5 ? "ew" : u === v ? "nwse" : "nesw";
    const group = node("g", { class: `handle ${kind}`, "data-handle": `${u},${v}` });
    const cx = x + u * width, cy = y + v * height;
    group.append(node("circle", { class: "reach", cx, cy, r: 11 }));
    group.append(node("rect", { x: cx - 4, y: cy - 4, width: 8, height: 8, rx: 2 }));
    return group;
  });
}

function draw() {
  const frame = $(".canvas").style;
  frame.setProperty("--aspect-x", Math.min(1, layout.width / layout.height));
  frame.setProperty("--aspect-y", Math.min(1, layout.height / layout.width));
  const [width, height] = size();
  svg.setAttribute("viewBox", `0 0 ${width || 1} ${height || 1}`);
  const order = layout.objects.map((_, index) => index).filter((index) => !layout.objects[index].hidden);
  order.sort((a, b) => area(layout.objects[b]) - area(layout.objects[a]));
  const layers = [drawShape, drawLabel].map((part) => order.map((index) => part(layout.objects[index], index)));
  svg.replaceChildren(...layers.flat());
  if (current() && !current().hidden) svg.append(...drawHandles(current()));
  svg.classList.toggle("armed", armed);
  showState();
}

function showState() {
  const object = current();
  const count = layout.objects.length, hidden = layout.objects.filter((other) => other.hidden).length;
  $(".empty").hidden = count > 0;
  $(".class-name").textContent = object?.label ?? lastLabel;
  const pressed = object?.attribute ?? lastTag;
  TAGS.forEach((name) => {
    const button = $(`[data-tag=${name}]`);
    button.setAttribute("aria-pressed", String(name === pressed));
    Object.assign(button, { disabled: Boolean(props.untagged), title: props.untagged });
  });
  $("[data-action=draw]").setAttribute("aria-pressed", String(armed));
  $("[data-action=undo]").disabled = !past.length;
  $("[data-action=redo]").disabled = !future.length;
  for (const name of ["duplicate", "delete"]) $(`[data-action=${name}]`).disabled = !object;
  $("[data-action=hide]").disabled = !object && !hidden;
  $(".state").textContent = `${count} ${count === 1 ? "object" : "objects"}${hidden ? ` · ${hidden} hidden` : ""}`;
}

// ---- class search --------------------------------------------------------------------------------------------------
function openPopup() {
  popup.hidden = false;
  query.value = "";
  search();
  const frame = pixels(current()?.box ?? [0, 1, 0, 1]), canvas = popup.parentElement.getBoundingClientRect();
  const offset = svg.getBoundingClientRect(), x = offset.left - canvas.left + frame.x;
  const y = offset.top - canvas.top + frame.y + frame.height + 8;
  popup.style.left = `${clamp(x, 6, Math.max(6, canvas.width - popup.offsetWidth - 6))}px`;
  popup.style.top = `${clamp(y, 6, Math.max(6, canvas.height - popup.offsetHeight - 6))}px`;
  query.focus({ preventScroll: true });
}

function closePopup() {
  if (popup.hidden) return;
  popup.hidden = true;
  svg.focus({ preventScroll: true });
}

function rank(label, text) {
  const name = label.toLowerCase(), inside = name.split(" ").some((word) => word.startsWith(text));
  return [name.startsWith(text), inside, name.includes(text), true].indexOf(true);
}

function search() {
  const text = query.value.trim().toLowerCase();
  found = [...props.things, ...props.stuff].filter((label) => rank(label, text) < 3);
  found.sort((a, b) => rank(a, text) - rank(b, text));
  highlighted = text ? 0 : Math.max(0, found.indexOf(current()?.label ?? lastLabel));
  showMatches();
}

function showMatches() {
  matches.replaceChildren(...found.map((label, index) => {
    const item = document.createElement("li");
    item.setAttribute("role", "option");
    item.setAttribute("aria-selected", String(index === highlighted));
    item.dataset.label = label;
    item.append(label, Object.assign(document.createElement("small"), { textContent: isStuff(label) ? "stuff" : "thing" }));
    return item;
  }));
  $(".popup p").hidden = found.length > 0;
  matches.children[highlighted]?.scrollIntoView({ block: "nearest" });
}

function choose(label) {
  if (label) classify(label);
  closePopup();
}

query.addEventListener("input", () => {
  query.value = query.value.replace(/[123]/g, (digit) => { tag(TAGS[digit - 1]); return ""; }); // tags work here too
  search();
});
query.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "Enter") return choose(found[highlighted]);
  event.stopPropagation();
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && found.length) { highlighted = (highlighted + step + found.length) % found.length; showMatches(); }
  else if (event.key === "Enter") choose(found[highlighted]);
  else if (event.key === "Escape") closePopup();
  else if (event.key === "Delete" && !query.value) remove();
  else return;
  event.preventDefault();
});
matches.addEventListener("pointerdown", (event) => {
  event.preventDefault();
  choose(event.target.closest("li")?.dataset.label);
});

// ---- pointer -------------------------------------------------------------------------------------------------------
function point(event) {
  const frame = svg.getBoundingClientRect();
  return [tidy((event.clientX - frame.left) / frame.width), tidy((event.clientY - frame.top) / frame.height)];
}

svg.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  event.preventDefault();
  help.hidden = true;
  svg.setPointerCapture(event.pointerId);
  const handle = event.target.closest("[data-handle]"), box = event.target.closest("[data-index]"), start = point(event);
  const before = clone(layout);
  closePopup();
  svg.focus({ preventScroll: true });
  if (handle && !armed) drag = { grip: handle.dataset.handle.split(",").map(Number) };
  else if (box && !armed) { drag = { move: true }; selected = Number(box.dataset.index); }
  else {
    const attribute = isStuff(lastLabel) ? "background" : lastTag;
    selected = layout.objects.push({ label: lastLabel, box: [...start, ...start], attribute }) - 1;
    drag = { grip: [1, 1], fresh: true };
  }
  Object.assign(drag, { before, start, box: [...current().box] });
  draw();
});

svg.addEventListener("pointermove", (event) => {
  if (!drag) return;
  const [x, y] = point(event);
  let [x1, y1, x2, y2] = drag.box;
  if (drag.move) current().box = shifted(drag.box, x - drag.start[0], y - drag.start[1]);
  else {
    const [u, v] = drag.grip;
    if (u === 0) x1 = x; else if (u === 1) x2 = x;
    if (v === 0) y1 = y; else if (v === 1) y2 = y;
    current().box = [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];
  }
  draw();
});

function release() {
  if (!drag) return;
  const { before, fresh, box } = drag, frame = pixels(current().box);
  drag = null;
  if (frame.width < MIN_SIDE || frame.height < MIN_SIDE) {
    if (fresh) { layout = before; return select(-1); }
    current().box = box;
  }
  armed = false;
  if (JSON.stringify(before) === JSON.stringify(layout)) return draw();
  remember(before);
  publish();
  if (fresh) openPopup();
}
svg.addEventListener("pointerup", release);
svg.addEventListener("pointercancel", release);
svg.addEventListener("dblclick", openPopup);

element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.tag) tag(button.dataset.tag);
  else ACTIONS[button.dataset.action]();
  if (popup.hidden) svg.focus({ preventScroll: true });
});

// ---- keys ----------------------------------------------------------------------------------------------------------
function editKey(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.ctrlKey || event.metaKey) {
    if (!CTRL_KEYS[key] || (key === "c" && String(getSelection()))) return false;
    ACTIONS[key === "z" && event.shiftKey ? "redo" : CTRL_KEYS[key]]();
  } else if (ARROWS[key] && current()) nudge(...ARROWS[key].map((step) => step * (event.shiftKey ? 10 : 1)));
  else if ("123".includes(key)) tag(TAGS[key - 1]);
  else if (KEYS[key]) ACTIONS[KEYS[key]]();
  else return false;
  return true;
}

const press = (id) => document.getElementById(id)?.click(); // a button of the page around the canvas

function pageKey(event) {
  if (event.key === "X" && event.shiftKey) press("cancel");
  else if (event.key.toLowerCase() === "c") press("compare");
  else if (event.key === "?") ACTIONS.help();
  else return false;
  return true;
}

document.addEventListener("keydown", (event) => {
  if (!element.isConnected || event.altKey) return;
  const field = event.target.closest("input, textarea, select, [role=tab]");
  const typing = field?.matches("input:not([type=radio], [type=checkbox]), textarea, select");
  const control = event.ctrlKey || event.metaKey;
  if (control && event.key === "Enter") press("generate");
  else if (typing || (field && event.key.startsWith("Arrow"))) return;
  else if (!editKey(event) && (control || !pageKey(event))) return;
  event.preventDefault();
});

// ---- files dropped on the canvas go the way of the Open button ---------------------------------------------------------
async function dropped(transfer) {
  if (transfer.files.length) return [...transfer.files].slice(0, 1);
  const address = transfer.getData("text/uri-list"); // a result picture dragged from this page
  if (!address || new URL(address).origin !== location.origin) return [];
  return [new File([await (await fetch(address)).blob()], "picture.png", { type: "image/png" })];
}

const target = $(".canvas");
target.addEventListener("dragover", (event) => { event.preventDefault(); target.classList.add("over"); });
target.addEventListener("dragleave", () => target.classList.remove("over"));
target.addEventListener("drop", async (event) => {
  event.preventDefault();
  target.classList.remove("over");
  const files = await dropped(event.dataTransfer), input = document.querySelector("#layout-card input[type=file]");
  if (!files.length || !input) return;
  const transfer = new DataTransfer();
  files.forEach((file) => transfer.items.add(file));
  input.files = transfer.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
});

new ResizeObserver(draw).observe(svg);
watch("value", pull);
watch(["things", "stuff", "untagged"], () => { // another model, with other words
  if (![...props.things, ...props.stuff].includes(lastLabel)) lastLabel = props.things[0] ?? props.stuff[0];
  draw();
});
pull();
