// Labels of the frames over an image: each at the first of its places where it covers no other; one that fits nowhere is
// left out (its frame stays, and the table names it). What fits depends on how large the image is shown.
const LABEL_PLACES = ["", "under", "inside", "inside-under", "unsaid"];

function placeLabels(frame) {
  const marks = [...frame.querySelectorAll(".mark")], taken = [], edge = frame.getBoundingClientRect();
  const free = ({ left, right, top, bottom }) => top >= edge.top - 1 && bottom <= edge.bottom + 1
    && !taken.some((box) => left < box.right && right > box.left && top < box.bottom && bottom > box.top);
  for (const mark of marks) {
    const label = mark.querySelector("span");
    mark.classList.remove(...LABEL_PLACES.slice(1));
    if (!label?.offsetWidth) continue;
    for (const place of LABEL_PLACES) {
      mark.classList.remove(...LABEL_PLACES.slice(1));
      if (place) mark.classList.add(place);
      const box = label.getBoundingClientRect();
      if (place !== "unsaid" && !free(box)) continue;
      if (place !== "unsaid") taken.push(box);
      break;
    }
  }
}

const labelled = new ResizeObserver((changes) => {
  for (const frame of new Set(changes.map(({ target }) => target.closest(".frame")))) if (frame) placeLabels(frame);
});
new MutationObserver((changes) => {
  const frames = new Set();
  for (const { target, addedNodes } of changes) {
    if (target.closest?.(".frame")) frames.add(target.closest(".frame"));
    for (const node of addedNodes) for (const frame of node.querySelectorAll?.(".frame") ?? []) frames.add(frame);
  }
  for (const frame of frames) {
    if (!frame.querySelector(".mark")) continue;
    placeLabels(frame);
    labelled.observe(frame.querySelector(".scene") ?? frame); // it grows with the window, or with a closer look
  }
}).observe(document.body, { childList: true, subtree: true });
