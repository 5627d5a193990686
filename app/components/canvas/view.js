// ---- view: which part of the canvas is seen, and its size ---------------------------------------------------------------
const sizes = $(".sizes");
const MAX_ZOOM = 8;
let view = { zoom: 1, x: 0, y: 0 }; // x, y: the fraction of the canvas at the corner of the stage

const stage = () => [svg.clientWidth, svg.clientHeight];

function pixels([x1, y1, x2, y2]) {
  const [width, height] = stage(), { zoom, x, y } = view;
  const px = (u) => (u - x) * zoom * width, py = (v) => (v - y) * zoom * height;
  return { x: px(x1), y: py(y1), width: px(x2) - px(x1), height: py(y2) - py(y1) };
}

function point(event) { // a fraction of the canvas
  const frame = svg.getBoundingClientRect();
  const u = (event.clientX - frame.left) / frame.width, v = (event.clientY - frame.top) / frame.height;
  return [tidy(view.x + u / view.zoom), tidy(view.y + v / view.zoom)];
}

function look(zoom, x, y) {
  const rest = 1 - 1 / zoom;
  view = { zoom, x: clamp(x, 0, rest), y: clamp(y, 0, rest) };
  draw();
}

const fit = () => { view = { zoom: 1, x: 0, y: 0 }; };

// u, v: where on the stage (fractions) the picture stays in place.
function zoomAbout(factor, u = 0.5, v = 0.5) {
  const zoom = clamp(view.zoom * factor, 1, MAX_ZOOM);
  look(zoom, view.x + u / view.zoom - u / zoom, view.y + v / view.zoom - v / zoom);
}

function pan(dx, dy) { // pixels
  const [width, height] = stage();
  look(view.zoom, view.x - dx / width / view.zoom, view.y - dy / height / view.zoom);
}

function frameSelection() {
  const boxes = (selection.size ? picked() : layout.objects.filter(isThing)).map(({ box }) => box);
  if (!boxes.length) return ACTIONS.whole();
  const [x1, y1, x2, y2] = outline(boxes), zoom = clamp(0.8 / Math.max(x2 - x1, y2 - y1), 1, MAX_ZOOM);
  look(zoom, (x1 + x2 - 1 / zoom) / 2, (y1 + y2 - 1 / zoom) / 2);
}

svg.addEventListener("wheel", (event) => {
  if (!event.ctrlKey && !event.metaKey && view.zoom === 1) return; // the page scrolls
  event.preventDefault();
  const frame = svg.getBoundingClientRect();
  const at = [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height];
  if (event.ctrlKey || event.metaKey) zoomAbout(Math.exp(-clamp(event.deltaY, -60, 60) / 200), ...at);
  else pan(-event.deltaX, -event.deltaY);
}, { passive: false });

function openSizes() {
  sizes.hidden = !sizes.hidden;
  if (sizes.hidden) return;
  $(".sizes ul").replaceChildren(...props.sizes.map(([name, width, height]) => {
    const item = document.createElement("li"), button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: name, onclick: () => resize(width, height) });
    button.setAttribute("aria-pressed", String(width === layout.width && height === layout.height));
    button.append(Object.assign(document.createElement("small"), { textContent: `${width} × ${height}` }));
    item.append(button);
    return item;
  }));
  const [width, height] = sizes.querySelectorAll("input");
  Object.assign(width, { value: layout.width, step: props.multiple, min: props.multiple });
  Object.assign(height, { value: layout.height, step: props.multiple, min: props.multiple });
}

function resize(width, height) {
  sizes.hidden = true;
  const whole = (side) => clamp(Math.round(side / props.multiple), 1, Math.floor(1024 / props.multiple)) * props.multiple;
  if (width > 0 && height > 0) change(() => Object.assign(layout, { width: whole(width), height: whole(height) }));
  svg.focus({ preventScroll: true });
}

sizes.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.matches("input")) {
    resize(...[...sizes.querySelectorAll("input")].map((input) => Number(input.value)));
    event.preventDefault();
  } else if (event.key === "Escape") { sizes.hidden = true; svg.focus({ preventScroll: true }); }
  event.stopPropagation();
});
