// ---- pointer: draw, move, resize, rubber band, pan, pinch ---------------------------------------------------------------
const MIN_SIDE = 6; // CSS pixels: a smaller box is none
const STILL = 3; // CSS pixels: a shorter drag is a click
const SNAP = 6; // CSS pixels
const DOUBLE = 450; // ms: a second click within is a double click
let drag = null, spaceHeld = false, clicked = { at: 0, id: null };
const fingers = new Map();

// Edges and middles of the other boxes and of the canvas.
function snapLines() {
  const others = layout.objects.filter((object) => !object.hidden && !selection.has(object.id)).map(({ box }) => box);
  const along = (low, high) => [0, 0.5, 1, ...others.flatMap((box) => [box[low], (box[low] + box[high]) / 2, box[high]])];
  return { x: along(0, 2), y: along(1, 3) };
}

// The smallest shift that brings one of the places onto a line; null where none is near.
function snap(axis, places) {
  const reach = SNAP / (stage()[axis === "x" ? 0 : 1] * view.zoom);
  let best = null;
  for (const at of drag.lines[axis]) {
    for (const place of places) {
      if (Math.abs(at - place) <= Math.min(reach, Math.abs(best?.shift ?? reach))) best = { axis, at, shift: at - place };
    }
  }
  return best;
}

function begin(kind, event, more = {}) {
  const boxes = kind === "move" ? movable().map(({ box }) => [...box]) : [];
  drag = { kind, start: point(event), screen: [event.clientX, event.clientY], before: clone(layout), boxes, lines: snapLines(), ...more };
}

svg.addEventListener("pointerdown", (event) => {
  event.preventDefault();
  help.hidden = sizes.hidden = true;
  svg.setPointerCapture(event.pointerId);
  if (event.pointerType === "touch") fingers.set(event.pointerId, [event.clientX, event.clientY]);
  closePopup();
  svg.focus({ preventScroll: true });
  if (fingers.size === 2) return pinch();
  if (event.button === 1 || (event.button === 0 && spaceHeld)) return begin("pan", event);
  if (event.button !== 0 || drag) return;
  const handle = event.target.closest("[data-handle]"), object = byId(Number(event.target.closest("[data-id]")?.dataset.id));
  if (handle && mode !== "draw") return begin("resize", event, { grip: handle.dataset.handle.split(",").map(Number), box: [...current().box] });
  if (object && mode !== "draw") return press(object, event);
  if (event.shiftKey || mode === "select") return begin("band", event, { kept: new Set(event.shiftKey ? selection : []) });
  startBox(event);
});

function press(object, event) {
  if (event.shiftKey) {
    const ids = new Set(selection);
    if (!ids.delete(object.id)) ids.add(object.id);
    return select(...ids);
  }
  const already = selection.has(object.id);
  if (!already) select(object.id);
  begin("move", event, { pressed: object.id, already });
  draw();
}

function startBox(event) {
  if (!hasRoom(1)) return;
  const start = point(event), attribute = isStuff(pen.label) ? "background" : pen.tag;
  const before = clone(layout), object = numbered({ label: pen.label, box: [...start, ...start], attribute });
  layout.objects.push(object);
  selection = new Set([object.id]);
  begin("resize", event, { grip: [1, 1], box: [...start, ...start], fresh: true, before });
  draw();
}

function pinch() {
  if (drag?.before) layout = drag.before; // the first finger did not mean it
  selection = new Set([...selection].filter(byId));
  const [a, b] = [...fingers.values()];
  drag = { kind: "pinch", span: Math.hypot(a[0] - b[0], a[1] - b[1]), middle: [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2] };
  draw();
}

svg.addEventListener("pointermove", (event) => {
  if (fingers.has(event.pointerId)) fingers.set(event.pointerId, [event.clientX, event.clientY]);
  if (!drag) return;
  guides = [];
  MOVES[drag.kind](event);
  draw();
  if (drag.kind === "move" || drag.kind === "resize") moved(true);
});

const MOVES = {
  move(event) {
    const [x, y] = point(event), objects = movable();
    if (!objects.length) return;
    let [dx, dy] = [x - drag.start[0], y - drag.start[1]];
    const [x1, y1, x2, y2] = outline(drag.boxes);
    if (!event.altKey && Math.hypot(event.clientX - drag.screen[0], event.clientY - drag.screen[1]) >= STILL) {
      guides = [snap("x", [x1 + dx, (x1 + x2) / 2 + dx, x2 + dx]), snap("y", [y1 + dy, (y1 + y2) / 2 + dy, y2 + dy])].filter(Boolean);
      for (const { axis, shift } of guides) axis === "x" ? (dx += shift) : (dy += shift);
    }
    const boxes = shifted(drag.boxes, dx, dy);
    objects.forEach((object, index) => { object.box = boxes[index]; });
  },
  resize(event) {
    let [x, y] = point(event), [x1, y1, x2, y2] = drag.box;
    const [u, v] = drag.grip;
    if (!event.altKey) {
      guides = [u !== 0.5 && snap("x", [x]), v !== 0.5 && snap("y", [y])].filter(Boolean);
      for (const { axis, at } of guides) axis === "x" ? (x = tidy(at)) : (y = tidy(at));
    }
    if (u === 0) x1 = x; else if (u === 1) x2 = x;
    if (v === 0) y1 = y; else if (v === 1) y2 = y;
    current().box = [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];
  },
  band(event) {
    const [x, y] = point(event), [a, b] = drag.start;
    band = [Math.min(a, x), Math.min(b, y), Math.max(a, x), Math.max(b, y)];
    const inside = layout.objects.filter((object) => !object.hidden && !object.locked && caught(object));
    selection = new Set([...drag.kept, ...inside.map(({ id }) => id)]);
  },
  pan(event) {
    pan(event.clientX - drag.screen[0], event.clientY - drag.screen[1]);
    drag.screen = [event.clientX, event.clientY];
  },
  pinch() {
    if (fingers.size < 2) return;
    const [a, b] = [...fingers.values()], frame = svg.getBoundingClientRect();
    const span = Math.hypot(a[0] - b[0], a[1] - b[1]), middle = [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
    zoomAbout(span / drag.span, (middle[0] - frame.left) / frame.width, (middle[1] - frame.top) / frame.height);
    pan(middle[0] - drag.middle[0], middle[1] - drag.middle[1]);
    Object.assign(drag, { span, middle });
  },
};

// Things that the band touches, and backgrounds that lie in it: else every band would catch the sky.
function caught(object) {
  const [x1, y1, x2, y2] = object.box;
  if (!isThing(object)) return x1 >= band[0] && y1 >= band[1] && x2 <= band[2] && y2 <= band[3];
  return x1 < band[2] && x2 > band[0] && y1 < band[3] && y2 > band[1];
}

function release(event) {
  fingers.delete(event.pointerId);
  if (!drag) return;
  const done = drag, still = Math.hypot(event.clientX - (done.screen?.[0] ?? 0), event.clientY - (done.screen?.[1] ?? 0)) < STILL;
  if (done.kind === "pinch" && fingers.size) return;
  drag = null;
  guides = [];
  if (done.kind === "band") {
    band = null;
    mode = null;
    if (still && !done.kept.size) selection = new Set();
  } else if (done.kind === "resize" && !finishBox(done)) return;
  else if (done.kind === "move") finishMove(done, still, event);
  draw();
}

function finishBox({ before, fresh, box }) {
  const frame = pixels(current().box);
  if (frame.width < MIN_SIDE || frame.height < MIN_SIDE) {
    if (fresh) { layout = before; select(); return false; }
    current().box = box;
  }
  mode = null;
  changed(before);
  if (fresh && !pen.pinned) openPopup();
  return true;
}

function finishMove({ before, pressed, already, start }, still, event) {
  if (!still) return changed(before);
  layout = before;
  const double = clicked.id !== null && event.timeStamp - clicked.at < DOUBLE;
  clicked = { at: event.timeStamp, id: pressed };
  if (already && !double) select(selection.size > 1 ? pressed : below(pressed, start));
}

// What lies under a box there; the topmost again after the lowest.
function below(id, [x, y]) {
  const shown = layout.objects.filter((object) => !object.hidden && !object.locked && isThing(object));
  const here = shown.filter(({ box: [x1, y1, x2, y2] }) => x >= x1 && x <= x2 && y >= y1 && y <= y2).map((object) => object.id);
  const at = here.indexOf(id);
  return at < 0 ? id : here[(at - 1 + here.length) % here.length];
}

svg.addEventListener("pointerup", release);
svg.addEventListener("pointercancel", release);
svg.addEventListener("dblclick", () => { if (selection.size) openPopup(); });
