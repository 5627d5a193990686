// ---- actions: what buttons and keys do ---------------------------------------------------------------------------------
function hasRoom(count) {
  if (layout.objects.length + count <= props.limit) return true;
  const text = `A layout holds at most ${props.limit} objects. Delete some first.`;
  document.dispatchEvent(new CustomEvent("say", { detail: { kind: "warning", title: "Not added", text } }));
  return false;
}

function add(objects) { // whether there was room for them
  if (!hasRoom(objects.length)) return false;
  const added = objects.map(numbered);
  change(() => {
    layout.objects.push(...added);
    selection = new Set(added.map(({ id }) => id));
  });
  return true;
}

function tag(attribute) {
  if (props.untagged) return;
  pen.tag = attribute;
  change(() => picked().forEach((object) => setTag(object, attribute)));
}

function setTag(object, attribute) { // its own number would stand above the tag
  object.attribute = attribute;
  delete object.difficulty;
}

const graded = () => picked().filter(isThing); // objects that can have a number

function grade(difficulty) {
  change(() => graded().forEach((object) => { object.difficulty = difficulty; }));
}

function tagAll(attribute) {
  if (props.untagged) return;
  pen.tag = attribute;
  change(() => layout.objects.filter(isThing).forEach((object) => setTag(object, attribute)));
}

function classify(label) {
  pen.label = label;
  recent = [label, ...recent.filter((other) => other !== label)].slice(0, 12);
  change(() => picked().forEach((object) => {
    const swapsKind = isStuff(label) !== (object.attribute === "background");
    object.label = label;
    if (swapsKind) setTag(object, isStuff(label) ? "background" : "easy");
  }));
  if (picked().length) pen.tag = picked()[0].attribute;
}

// A class of the palette: of what is selected; or, with nothing selected, of every box from now on, until Escape.
function takeClass(label, { whole = false } = {}) {
  if (whole) return select(...layout.objects.filter((object) => object.label === label && !object.hidden).map(({ id }) => id));
  if (!selection.size) pen.pinned = !(pen.pinned && pen.label === label);
  classify(label);
}

function remove() {
  const going = new Set(movable().map(({ id }) => id));
  closePopup();
  change(() => {
    layout.objects = layout.objects.filter(({ id }) => !going.has(id));
    selection = new Set([...selection].filter(byId));
  });
}

const outline = (boxes) => [0, 1, 2, 3].map((side) => Math[side < 2 ? "min" : "max"](...boxes.map((box) => box[side])));

function shifted(boxes, dx, dy) { // together, and not beyond the canvas
  const [x1, y1, x2, y2] = outline(boxes), moveX = clamp(dx, -x1, 1 - x2), moveY = clamp(dy, -y1, 1 - y2);
  return boxes.map(([a, b, c, d]) => [a + moveX, b + moveY, c + moveX, d + moveY].map(tidy));
}

function paste(objects) {
  if (!objects.length) return;
  const boxes = shifted(objects.map(({ box }) => box), 0.04, 0.04);
  add(objects.map((object, index) => ({ ...object, box: boxes[index], hidden: false, locked: false })));
}

function nudge(dx, dy) {
  const objects = movable();
  if (!objects.length) return;
  const boxes = shifted(objects.map(({ box }) => box), dx / layout.width, dy / layout.height);
  change(() => objects.forEach((object, index) => { object.box = boxes[index]; }));
}

function stretch(dx, dy) {
  change(() => movable().forEach((object) => {
    const [x1, y1, x2, y2] = object.box;
    object.box = [x1, y1, Math.max(x1 + 4 / layout.width, x2 + dx / layout.width), Math.max(y1 + 4 / layout.height, y2 + dy / layout.height)].map(tidy);
  }));
}

function cycle(step) {
  const shown = layout.objects.filter(({ hidden }) => !hidden), at = shown.findIndex(({ id }) => selection.has(id));
  if (!shown.length) return;
  select(shown[at < 0 ? (step > 0 ? 0 : shown.length - 1) : (at + step + shown.length) % shown.length].id);
}

// Draw order is the order of the list; backgrounds are always below.
function reorder(step, whole) {
  change(() => {
    const moving = picked(), rest = layout.objects.filter(({ id }) => !selection.has(id));
    if (!moving.length) return;
    const first = layout.objects.indexOf(step > 0 ? moving.at(-1) : moving[0]) - (step > 0 ? moving.length - 1 : 0);
    rest.splice(whole ? (step > 0 ? rest.length : 0) : clamp(first + step, 0, rest.length), 0, ...moving);
    layout.objects = rest;
  });
}

function flip(flag) { // of what is selected; with nothing selected, of nothing any more
  const objects = picked();
  const on = objects.some((object) => !object[flag]);
  change(() => (objects.length ? objects : layout.objects).forEach((object) => { object[flag] = objects.length > 0 && on; }));
}

function save() {
  const href = URL.createObjectURL(new Blob([JSON.stringify(published(), null, 2)], { type: "application/json" }));
  Object.assign(document.createElement("a"), { href, download: "layout.json" }).click();
  URL.revokeObjectURL(href);
}

function setMode(name) {
  mode = mode === name ? null : name;
  draw();
}

function place() { // a box without a pointer
  const attribute = isStuff(pen.label) ? "background" : pen.tag;
  mode = null;
  if (add([{ label: pen.label, box: [0.3, 0.3, 0.7, 0.7], attribute }]) && !pen.pinned) openPopup();
}

const ACTIONS = {
  draw: () => setMode("draw"),
  select: () => setMode("select"),
  fill: () => {
    const label = isStuff(pen.label) ? pen.label : (props.stuff[0] ?? pen.label);
    if (add([{ label, box: [0, 0, 1, 1], attribute: "background" }])) openPopup();
  },
  undo: () => travel(past, future),
  redo: () => travel(future, past),
  duplicate: () => paste(picked()),
  copy: () => { if (selection.size) clipboard = clone(picked()); },
  cut: () => { ACTIONS.copy(); remove(); },
  paste: () => paste(clipboard),
  all: () => select(...layout.objects.filter(({ hidden }) => !hidden).map(({ id }) => id)),
  hide: () => { flip("hidden"); select(); },
  lock: () => flip("locked"),
  delete: remove,
  next: () => cycle(1),
  previous: () => cycle(-1),
  forward: (whole) => reorder(1, whole),
  backward: (whole) => reorder(-1, whole),
  release: () => {
    if (!list.hidden && !selection.size && !mode && help.hidden && sizes.hidden) return ACTIONS.list();
    help.hidden = sizes.hidden = true;
    mode = null;
    pen.pinned = false;
    select();
  },
  place: () => { if (mode === "draw") place(); else if (current()) openPopup(); },
  class: () => (popup.hidden ? openPopup() : closePopup()),
  list: () => { list.hidden = !list.hidden; draw(); },
  help: () => { help.hidden = !help.hidden; },
  size: () => openSizes(),
  whole: () => { fit(); draw(); },
  closer: () => zoomAbout(1.25),
  farther: () => zoomAbout(0.8),
  frame: () => frameSelection(),
  save,
};
