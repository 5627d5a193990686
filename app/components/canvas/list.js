// ---- the list of objects: what the canvas shows, a row each, the frontmost first ----------------------------------------
const list = $(".list"), rows = $(".list ol");
const SIDES = ["Left", "Top", "Width", "Height"]; // of a box, in pixels
let listed = "", dragged = null;

const inPixels = ({ box: [x1, y1, x2, y2] }) => [x1 * layout.width, y1 * layout.height, (x2 - x1) * layout.width, (y2 - y1) * layout.height].map(Math.round);
const frontFirst = () => [...layout.objects.filter((object) => !isThing(object)), ...layout.objects.filter(isThing)].reverse();

function made(name, attributes, text = "") {
  const node = Object.assign(document.createElement(name), { textContent: text });
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

function makeRow(object) {
  const row = made("li", { "data-id": object.id });
  const tags = made("select", { "data-set": "attribute", "aria-label": `Tag of ${object.label}` });
  tags.append(...TAGS.map((name) => made("option", { value: name }, name)));
  row.append(
    made("button", { type: "button", class: "grip", title: "Drag, or press the up and down arrows", "aria-label": `Order of ${object.label}` }, "⠿"),
    made("button", { type: "button", class: "pick" }, object.label),
    tags,
    ...[["hide", "hidden"], ["lock", "locked"]].map(([action, flag]) => {
      const title = action === "hide" ? "Hide" : "Lock";
      const button = made("button", { type: "button", "data-flag": flag, "aria-label": `${title} ${object.label}`, title });
      button.append($(`[data-action=${action}] svg`).cloneNode(true));
      return button;
    }),
    made("div", { class: "sides" }),
  );
  row.lastChild.append(...SIDES.map((side) => made("input", { type: "number", min: 0, "data-side": side, "aria-label": `${side} of ${object.label}, pixels`, title: `${side}, pixels` })));
  return row;
}

function showList() {
  $("[data-action=list]").setAttribute("aria-pressed", String(!list.hidden));
  if (list.hidden) return;
  const objects = frontFirst(), told = JSON.stringify(objects.map(({ id, label }) => [id, label]));
  if (told !== listed) {
    const held = document.activeElement?.closest?.(".list li") && [document.activeElement.closest("li").dataset.id, document.activeElement.className];
    rows.replaceChildren(...objects.map(makeRow));
    listed = told;
    if (held) [...rows.querySelectorAll(`[data-id="${held[0]}"] *`)].find((node) => node.className === held[1])?.focus();
  }
  $(".list .hint").hidden = objects.length > 0;
  objects.forEach((object, place) => {
    const row = rows.children[place], tags = row.querySelector("select");
    row.className = `${object.attribute}${selection.has(object.id) ? " selected" : ""}`;
    row.querySelector(".pick").setAttribute("aria-pressed", String(selection.has(object.id)));
    tags.value = object.attribute;
    tags.disabled = Boolean(props.untagged);
    for (const button of row.querySelectorAll("[data-flag]")) button.setAttribute("aria-pressed", String(Boolean(object[button.dataset.flag])));
    const places = inPixels(object);
    row.querySelectorAll("input").forEach((input, side) => {
      input.disabled = Boolean(object.locked);
      if (document.activeElement !== input) input.value = places[side];
    });
  });
}

function setSide(object, input) { // as it was typed, inside the canvas; the other sides stay exact
  const side = SIDES.indexOf(input.dataset.side), whole = side % 2 ? layout.height : layout.width, least = 1 / whole;
  const [x1, y1, x2, y2] = object.box, places = [x1, y1, x2 - x1, y2 - y1];
  places[side] = clamp((Number(input.value) || 0) / whole, side < 2 ? 0 : least, side < 2 ? 1 - least : 1);
  const [left, top, width, height] = places;
  change(() => { object.box = [left, top, left + width, top + height].map(tidy); });
}

// Above or below another one in the list is in front of it or behind it on the canvas; a background stays behind all things.
function move(object, other, above) {
  if (!other || object === other) return;
  change(() => {
    const rest = layout.objects.filter((each) => each !== object);
    rest.splice(rest.indexOf(other) + (above ? 1 : 0), 0, object);
    layout.objects = rest;
  });
}

const objectOf = (node) => byId(Number(node.closest("li")?.dataset.id));

rows.addEventListener("click", ({ target: node, shiftKey }) => {
  const object = objectOf(node), flag = node.closest("[data-flag]")?.dataset.flag;
  if (!object) return;
  if (flag) change(() => { object[flag] = !object[flag]; });
  else if (node.matches(".pick")) select(...(shiftKey ? [...selection, object.id] : [object.id]));
});
rows.addEventListener("change", ({ target: node }) => {
  const object = objectOf(node);
  if (!object) return;
  if (node.matches("select")) change(() => setTag(object, node.value));
  else setSide(object, node);
});
rows.addEventListener("keydown", (event) => {
  if (event.key === "Escape") { ACTIONS.list(); svg.focus({ preventScroll: true }); }
  const object = objectOf(event.target), step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (event.target.matches(".grip") && step) {
    const shown = frontFirst();
    move(object, shown[shown.indexOf(object) + step], step < 0);
    event.preventDefault();
  }
  if (!(event.ctrlKey || event.metaKey)) event.stopPropagation(); // the canvas's keys are not meant
});
rows.addEventListener("pointerdown", ({ target: node }) => { // by its handle alone: text in fields can be selected
  const row = node.closest("li");
  if (row) row.draggable = Boolean(node.closest(".grip"));
});
rows.addEventListener("dragstart", (event) => { dragged = objectOf(event.target); event.dataTransfer.effectAllowed = "move"; });
rows.addEventListener("dragover", (event) => { if (dragged) event.preventDefault(); });
rows.addEventListener("drop", (event) => {
  event.preventDefault();
  const other = objectOf(event.target), shown = frontFirst();
  if (!dragged || !other) return;
  move(dragged, other, shown.indexOf(dragged) > shown.indexOf(other));
  dragged = null;
});
rows.addEventListener("dragend", () => { dragged = null; });
