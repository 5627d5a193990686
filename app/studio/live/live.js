// Live mode: what the canvas shows is drawn again at every change. gr.HTML gives: element, props, trigger, watch.
// The newest change wins. In the middle of a drag one request is on its way at a time, and what changed meanwhile is sent
// when it is answered: so images keep coming. A change that is done with is sent at once, and the server then stops what
// it draws for this page.
const button = element.querySelector("button");
const PACE = 60; // ms between two requests, at least
const REST = 1000; // ms after which an image is kept
const LOST = 15000; // ms after which an answer is not waited for any longer
const CHOSEN = "live"; // in the browser's storage: "on" or "off"

let chosen = null, newest = null, sent = 0, done = 0, behind = false, sentAt = 0, asking = 0, resting = 0, lost = 0;
try { chosen = localStorage.getItem(CHOSEN); } catch {} // a browser that keeps nothing

const on = () => (chosen ? chosen === "on" : props.value.fast);
const seen = () => document.querySelector("#pair")?.offsetParent; // live is the comparison, where it is shown

function show() {
  button.setAttribute("aria-pressed", String(on()));
  button.classList.toggle("busy", sent > done);
  const panel = document.querySelector("#pair");
  panel?.querySelector(".why")?.remove();
  const hint = sent > done && !props.value.fast ? props.value.hint : ""; // while one waits
  const said = on() ? props.value.note || hint : "";
  if (panel && said) {
    panel.prepend(Object.assign(document.createElement("p"), { className: "earlier why", textContent: said }));
  }
}

function ask(dragging = false) {
  clearTimeout(asking);
  if (!on() || !newest || !seen()) return;
  behind = sent - done >= (dragging ? 1 : 2);
  if (behind) return;
  const wait = sentAt + PACE - performance.now();
  if (wait > 0) { asking = setTimeout(ask, wait, dragging); return; }
  clearTimeout(resting);
  clearTimeout(lost);
  lost = setTimeout(() => { done = sent; answered(); }, LOST);
  sentAt = performance.now();
  document.documentElement.dataset.live = "drawing";
  props.value = { ...props.value, layout: newest, number: ++sent };
  trigger("draw");
  show();
}

function again() { // now, or as soon as it is seen
  const panel = document.querySelector("#pair");
  if (!on() || !panel || seen()) { ask(); return; }
  new IntersectionObserver((_, watching) => { if (seen()) { watching.disconnect(); ask(); } }).observe(panel);
}

function answered() {
  done = Math.max(done, Math.min(props.value.done, sent));
  if (behind) ask();
  if (done === sent && document.documentElement.dataset.live) {
    delete document.documentElement.dataset.live;
    document.dispatchEvent(new CustomEvent("live-rests"));
    clearTimeout(resting);
    if (sent) resting = setTimeout(() => trigger("rest"), REST);
  }
  show();
}

document.addEventListener("canvas-changes", ({ detail }) => { newest = detail.layout; ask(detail.dragging); });
document.addEventListener("canvas-shows", ({ detail }) => { newest ??= detail; });
document.addEventListener("live-again", again);
button.addEventListener("click", () => {
  chosen = on() ? "off" : "on";
  try { localStorage.setItem(CHOSEN, chosen); } catch {}
  show();
  ask();
});
watch("value", answered);
show();
