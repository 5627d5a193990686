// A result of another layout than the canvas shows is dimmed, and says so. What a result is of stands in it
// (`made_of` in html.py); what the canvas shows, it tells (canvas/state.js).
const EARLIER = "From an earlier layout";
let onCanvas = null;

function isOf(made, shown) {
  const box = (a, b) => a.box.every((side, place) => Math.abs(side - b.box[place]) < 1e-4);
  const tag = (a, b) => ("attribute" in a ? (a.attribute ?? "easy") === (b.attribute ?? "easy") : b.attribute !== "background");
  const grade = (a, b) => !("attribute" in a) || (a.difficulty ?? null) === (b.difficulty ?? null);
  return made.width === shown.width && made.height === shown.height && (made.caption ?? "") === (shown.caption ?? "")
    && made.objects.length === shown.objects.length
    && made.objects.every((a, place) => { const b = shown.objects[place]; return a.label === b.label && box(a, b) && tag(a, b) && grade(a, b); });
}

function judge() {
  if (!onCanvas || document.documentElement.dataset.live === "drawing") return; // live: the right one comes in a moment
  for (const panel of document.querySelectorAll('#results > [role="tabpanel"]')) {
    const made = panel.querySelector("[data-made-of]");
    const stale = Boolean(made) && !isOf(JSON.parse(made.dataset.madeOf), onCanvas);
    if (panel.classList.contains("stale") === stale) continue;
    panel.classList.toggle("stale", stale);
    panel.querySelector(":scope > .earlier")?.remove();
    if (!stale) continue;
    const note = Object.assign(document.createElement("p"), { className: "earlier", textContent: EARLIER });
    note.setAttribute("role", "status");
    panel.prepend(note);
  }
}

document.addEventListener("live-rests", judge);
document.addEventListener("canvas-shows", ({ detail }) => { onCanvas = detail; judge(); });
const results = new MutationObserver(() => {
  const place = document.querySelector("#results");
  if (!place) return;
  results.disconnect();
  new MutationObserver(judge).observe(place, { childList: true, subtree: true, attributes: true, attributeFilter: ["data-made-of"] });
});
results.observe(document.body, { childList: true, subtree: true });
