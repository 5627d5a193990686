// The layout canvas. gr.HTML gives: element, trigger, props, watch. These files are one function body, in the order of
// editor.py. The value is a layout in its public JSON form (boxes in fractions); beside it an object has what only this
// page knows: id, hidden, locked.
const $ = (selector) => element.querySelector(selector);
const svg = $(".canvas > svg");
const TAGS = ["easy", "hard", "background"];
const HISTORY = 200;

let layout = { width: 256, height: 256, objects: [], caption: "" };
let selection = new Set(), past = [], future = [], clipboard = [], nextId = 1;
let pen = { label: props.things[0] ?? props.stuff[0], tag: "easy", pinned: false }; // of the next box
let recent = [], mode = null; // mode: null (drag draws on empty ground), "draw" (everywhere), "select" (rubber band)
let world = props.world; // of the model's classes
const shelved = {}; // by world: its canvas as it was left for another model's

const clone = (value) => JSON.parse(JSON.stringify(value));
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const clamp = (value, low, high) => Math.max(low, Math.min(high, value));
const tidy = (value) => Math.round(clamp(value, 0, 1) * 1e4) / 1e4;
const isStuff = (label) => props.stuff.includes(label);
const isThing = (object) => object.attribute !== "background";
const byId = (id) => layout.objects.find((object) => object.id === id);
const picked = () => layout.objects.filter((object) => selection.has(object.id));
const movable = () => picked().filter((object) => !object.locked);
const current = () => (selection.size === 1 ? picked()[0] : undefined);
const counted = () => layout.objects.reduce((counts, { label }) => counts.set(label, (counts.get(label) ?? 0) + 1), new Map());

function published({ width, height, objects, caption } = layout) { // a caption stands there only if there is one
  const shown = objects.map(({ label, box, attribute, difficulty }) => ({ label, box, attribute, ...(difficulty != null && { difficulty }) }));
  return { width, height, objects: shown, ...(caption && { caption }) };
}

function numbered(object) {
  return { ...clone(object), id: nextId++ };
}

function pull() {
  const of = props.value.world || world, entered = of !== world;
  if (entered && of !== props.world) return; // the rest of another model is still to come
  if (entered) enter(of);
  tell();
  if (same(published(props.value), published())) { // told twice, or as it was left
    if (entered) moved();
    return draw();
  }
  const opened = !layout.objects.length && !past.length; // the page, and nothing was there before
  if (!opened) remember(clone(layout));
  layout = { caption: "", ...clone(props.value), objects: props.value.objects.map(numbered) };
  if (!opened || entered) moved();
  fit();
  select();
}

// A model of other classes has taken over. What was drawn and undone with the ones before stays, for when they are back.
function enter(next) {
  shelved[world] = { layout, past, future };
  world = next;
  ({ layout, past, future } = shelved[world] ?? { layout: { ...layout, objects: [], caption: "" }, past: [], future: [] });
  [selection, clipboard, recent] = [new Set(), [], []];
  fit();
  closePopup();
}

function remember(before) {
  past = [...past, before].slice(-HISTORY);
  future = [];
}

function publish() {
  props.value = published(); // a new object: Gradio compares identity
  keep();
  tell();
  trigger("commit");
  moved();
}

// Results of another layout are marked (studio/stale.js).
function tell() {
  document.dispatchEvent(new CustomEvent("canvas-shows", { detail: clone(props.value) }));
}

// Every change, in the middle of a drag too: for whoever draws along (studio/live/live.js).
function moved(dragging = false) {
  document.dispatchEvent(new CustomEvent("canvas-changes", { detail: { layout: clone(published()), dragging } }));
}

// What was drawn outlives another model, and a reload of this tab (and of this tab alone): the page asks for it by the
// same names (KEPT in studio/tab.py).
function keep() {
  if (!layout.objects.length && !past.length) return; // nothing was there yet
  try {
    const link = new URLSearchParams(location.search).get("layout") ?? "";
    sessionStorage.setItem(`canvas ${world} ${link}`, JSON.stringify(published()));
  } catch {} // a browser that keeps nothing
}

function change(edit) {
  const before = clone(layout);
  edit();
  changed(before);
}

function changed(before) {
  if (!same(before, layout)) remember(before);
  if (!same(published(before), published())) publish();
  draw();
}

function travel(from, to) {
  if (!from.length) return;
  const before = clone(layout);
  to.push(before);
  layout = from.pop();
  selection = new Set([...selection].filter(byId));
  closePopup();
  if (!same(published(before), published())) publish();
  draw();
}

function select(...ids) {
  selection = new Set(ids);
  closePopup();
  draw();
}
