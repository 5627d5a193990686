// The gallery's tiles: choose, star, go about with arrow keys. gr.HTML gives: element, trigger.
let last = "";

function press(button) {
  trigger("choose", { name: button.dataset.name });
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-name]");
  if (button) press(button);
});
element.addEventListener("focusin", (event) => { last = event.target.dataset.name ?? last; });
element.addEventListener("keydown", (event) => {
  const tile = event.target.closest(".tile");
  if (!tile || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key.toLowerCase() === "s") return press(tile.querySelector(".star"));
  const tiles = [...element.querySelectorAll(".tile")];
  const columns = tiles.filter((other) => other.offsetTop === tiles[0].offsetTop).length;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
  if (!step) return;
  event.preventDefault();
  tiles[tiles.indexOf(tile) + step]?.querySelector(".pick").focus();
});
// What has the keyboard keeps it when the tiles are drawn anew.
new MutationObserver(() => {
  if (last && document.activeElement === document.body) element.querySelector(`[data-name="${last}"]`)?.focus();
}).observe(element, { childList: true, subtree: true });
