// Light or dark, and a tour of four steps. The header is drawn anew with every model, so clicks are caught on the page.
// Both are remembered by the browser alone.
const remember = (name, value) => { try { localStorage.setItem(`detdiffusion.${name}`, value); } catch { /* private */ } };
const remembered = (name) => { try { return localStorage.getItem(`detdiffusion.${name}`); } catch { return null; } };

const theme = remembered("theme");
if (theme) document.body.classList.toggle("dark", theme === "dark");

// Where, name, text, and the text for fingers where keys are meant.
const STEPS = [
  ["#layout-card", "Draw", "Drag on the canvas to draw a box, then type two letters of its class. Press ? for all keyboard shortcuts.",
    "Drag a finger over the canvas to draw a box, then choose its class. Two fingers zoom."],
  ["#layout-card .tags", "Tag", "Press 1 if the detector should find the object (easy), 2 if it should miss it (hard), 3 for background.",
    "Choose Easy if the detector should find the object, Hard if it should miss it."],
  ["#press-bar", "Generate", "Ctrl+Enter generates an image. With fixed noise, a changed tag changes one object. C generates the layout easy and hard.",
    "Generate makes an image. With fixed noise, a changed tag changes one object. Compare generates the layout easy and hard."],
  ["#result-card", "Compare", "The detector checks every image. Here you see what it finds, what it misses and how confident it is."],
];
const card = Object.assign(document.createElement("div"), { className: "tour-card", hidden: true });
card.setAttribute("role", "dialog");
card.setAttribute("aria-live", "polite");
document.body.append(card);
let step = 0, lit = null, from = null;

function leave() {
  card.hidden = true;
  lit?.classList.remove("toured");
  remember("tour", "seen");
  document.body.classList.add("tour-seen");
  from?.focus();
}

function visit(number) {
  step = number;
  lit?.classList.remove("toured");
  document.querySelector("#views button[data-tab-id=studio]")?.click();
  const [place, name, byKeys, byFingers] = STEPS[step], text = matchMedia("(pointer: coarse)").matches && byFingers || byKeys;
  lit = document.querySelector(place);
  lit.scrollIntoView({ block: "nearest" });
  lit.classList.add("toured");
  card.setAttribute("aria-label", name);
  card.innerHTML = `<h3>${name} <small>${step + 1} of ${STEPS.length}</small></h3><p>${text}</p><div>` +
    '<button type="button" data-tour="leave">Close</button><button type="button" data-tour="back">Back</button>' +
    `<button type="button" data-tour="on" class="on">${step + 1 < STEPS.length ? "Next" : "Done"}</button></div>`;
  card.querySelector("[data-tour=back]").disabled = step === 0;
  card.hidden = false;
  const at = lit.getBoundingClientRect(), { offsetWidth: width, offsetHeight: height } = card;
  const beside = at.right + width + 24 < innerWidth, before = at.left - width - 24 > 0;
  card.style.left = `${beside ? at.right + 14 : before ? at.left - width - 14 : Math.max(12, at.left + at.width / 2 - width / 2)}px`;
  const above = at.top - height - 14, below = at.bottom + 14; // of a thing as wide as the window
  const top = beside || before ? at.top + 40 : above >= 12 ? above : below + height < innerHeight ? below : at.bottom - height - 14;
  card.style.top = `${Math.max(12, Math.min(top, innerHeight - height - 74))}px`;
  card.querySelector(".on").focus();
}

const GO = { leave, back: () => visit(step - 1), on: () => (step + 1 < STEPS.length ? visit(step + 1) : leave()) };
document.addEventListener("click", ({ target }) => {
  if (target.closest("#header .tour")) { from = target; visit(0); }
  if (target.closest("#header .theme")) remember("theme", document.body.classList.toggle("dark") ? "dark" : "light");
  GO[target.closest("[data-tour]")?.dataset.tour]?.();
});
card.addEventListener("keydown", (event) => {
  event.stopPropagation(); // keys of the canvas rest meanwhile
  if (event.key === "Escape") leave();
});
document.body.classList.toggle("tour-seen", remembered("tour") === "seen");
