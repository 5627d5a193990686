// ---- buttons and keys --------------------------------------------------------------------------------------------------
const help = $(".help");
const KEYS = {
  n: "draw", v: "select", b: "fill", h: "hide", k: "lock", o: "list", l: "class", f: "frame", "[": "previous", "]": "next",
  0: "whole", "+": "closer", "=": "closer", "-": "farther", Enter: "place",
  Delete: "delete", Backspace: "delete", Escape: "release",
};
const CTRL_KEYS = { z: "undo", y: "redo", d: "duplicate", c: "copy", x: "cut", v: "paste", a: "all" };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const PAGES = { PageUp: "forward", PageDown: "backward" };

element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button || sizes.contains(button) || rows.contains(button)) return;
  if (button.dataset.tag) tag(button.dataset.tag);
  else if (button.dataset.tagAll) tagAll(button.dataset.tagAll);
  else if (button.dataset.action) ACTIONS[button.dataset.action](event.shiftKey);
  if (popup.hidden && sizes.hidden && event.detail) svg.focus({ preventScroll: true }); // by keyboard, focus stays
});

$(".difficulty input").addEventListener("input", ({ target }) => setText(".difficulty output", Number(target.value).toFixed(2)));
$(".difficulty input").addEventListener("change", ({ target }) => grade(Number(target.value)));
$(".difficulty input").addEventListener("keydown", (event) => event.stopPropagation()); // arrows move the slider, not the box

function editKey(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key, control = event.ctrlKey || event.metaKey;
  const digit = /^(?:Digit|Numpad)([123])$/.exec(event.code)?.[1];
  if (ARROWS[key]) {
    if (!selection.size) return false;
    (control ? stretch : nudge)(...ARROWS[key].map((step) => step * (event.shiftKey ? 10 : 1)));
  } else if (control) {
    if (!CTRL_KEYS[key] || (key === "c" && String(getSelection()))) return false;
    ACTIONS[key === "z" && event.shiftKey ? "redo" : CTRL_KEYS[key]]();
  } else if (digit) (event.shiftKey ? tagAll : tag)(TAGS[digit - 1]);
  else if (PAGES[key]) { if (!selection.size) return false; ACTIONS[PAGES[key]](event.shiftKey); }
  else if (KEYS[key]) ACTIONS[KEYS[key]]();
  else return false;
  return true;
}

const push = (id) => document.getElementById(id)?.click(); // a button of the page around the canvas

// A run that was only just asked for has no Cancel yet: it is pressed as soon as it is there.
const JUST_NOW = 3000; // ms
let asked = -Infinity, cancelling = 0;

document.addEventListener("click", (event) => {
  if (!event.target.closest("#generate, #compare, #full-model, #figures button")) return;
  asked = performance.now();
  clearInterval(cancelling);
}, true);

function cancel() {
  clearInterval(cancelling);
  if (document.getElementById("cancel")) return push("cancel");
  cancelling = setInterval(() => {
    const button = document.getElementById("cancel");
    if (button || performance.now() - asked > JUST_NOW) clearInterval(cancelling);
    button?.click();
  }, 50);
}

function pageKey(event) {
  if (event.key === "X" && event.shiftKey) cancel();
  else if (event.key.toLowerCase() === "c") push("compare");
  else if (event.key.toLowerCase() === "m") push("full-model");
  else if (event.key === "?") ACTIONS.help();
  else return false;
  return true;
}

document.addEventListener("keydown", (event) => {
  if (!element.isConnected || !element.offsetParent || event.altKey) return;
  const field = event.target.closest("input, textarea, select, [role=tab], [role=slider]");
  const typing = field?.matches("input:not([type=radio], [type=checkbox]), textarea, select");
  const control = event.ctrlKey || event.metaKey;
  const pressing = ["Enter", " "].includes(event.key) && event.target.closest("button, a, label, summary");
  if (control && event.key === "Enter") push("generate");
  else if (typing || pressing || (field && event.key.startsWith("Arrow"))) return;
  else if (event.key === " " && event.target === svg) spaceHeld = true;
  else if (!editKey(event) && (control || !pageKey(event))) return;
  event.preventDefault();
});
document.addEventListener("keyup", (event) => { if (event.key === " ") spaceHeld = false; });
window.addEventListener("blur", () => { spaceHeld = false; });
