// What is wrong with the places of what is shown; wanted: selectors of what has to be in reach. Of test_screens.py.
async (wanted) => {
  for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
  const faults = [], wide = innerWidth, high = innerHeight, SLACK = 2;
  const name = (node) => (node.id || node.closest("[id]")?.id || "") + " " + node.tagName.toLowerCase() + " "
    + (node.getAttribute("aria-label") || node.textContent.trim() || node.className || "").toString().slice(0, 24);
  const style = (node) => getComputedStyle(node);
  const ancestors = function* (node) { for (let each = node.parentElement; each; each = each.parentElement) yield each; };
  const fixed = (node) => [node, ...ancestors(node)].some((each) => style(each).position === "fixed");
  const shown = (node) => {
    const { width, height } = node.getBoundingClientRect();
    if (width < 3 || height < 3 || !node.checkVisibility({ opacityProperty: true, visibilityProperty: true })) return false;
    return ![...ancestors(node)].some((each) => { const box = each.getBoundingClientRect(); return style(each).overflow !== "visible" && (box.width < 3 || box.height < 3); });
  };
  const scrolls = (node, axis) => ["auto", "scroll"].includes(style(node)[`overflow${axis}`]);
  const inScroller = (node, axis) => [...ancestors(node)].some((each) => each !== document.scrollingElement && each !== document.body && scrolls(each, axis));
  if (document.documentElement.scrollWidth > wide + SLACK) faults.push(`the page is ${document.documentElement.scrollWidth} wide`);
  const nodes = [...document.querySelectorAll("button, a[href], input, textarea, [role=tab], h1, h2, h3, #header p")].filter(shown)
    .filter((node) => !(node.type === "file" || node.closest(".canvas .popup, .help") || (node.type === "radio" || node.type === "checkbox")));
  for (const node of nodes) {
    const box = node.getBoundingClientRect();
    if (!inScroller(node, "X") && (box.left < -SLACK || box.right > wide + SLACK)) faults.push(`outside: ${name(node)}`);
    if (node.matches("button, h1, h2, h3") && node.scrollWidth > node.clientWidth + SLACK && style(node).textOverflow !== "ellipsis"
      && !node.querySelector("svg, img, i") && style(node).display !== "inline") faults.push(`cut: ${name(node)}`);
    for (const each of ancestors(node)) {
      const hidden = (axis) => ["hidden", "clip"].includes(style(each)[`overflow${axis}`]), frame = each.getBoundingClientRect();
      if (each === document.body || each === document.documentElement) break;
      if (scrolls(each, "X") || scrolls(each, "Y")) break;
      if ((hidden("X") && (box.right > frame.right + SLACK || box.left < frame.left - SLACK))
        || (hidden("Y") && (box.bottom > frame.bottom + SLACK || box.top < frame.top - SLACK))) {
        if (!each.matches(".palette, #prompt, .wrap-inner, .tour-card")) faults.push(`clipped: ${name(node)} by ${name(each)}`);
        break;
      }
    }
  }
  const loose = nodes.filter((node) => !fixed(node) && !inScroller(node, "Y"));
  const boxes = loose.map((node) => { // of a text that leaves room for the tabs, where it stands
    const box = node.getBoundingClientRect(), room = node.matches("p") ? parseFloat(style(node).paddingLeft) : 0;
    return new DOMRect(box.x + room, box.y, box.width - room, box.height);
  });
  for (let i = 0; i < loose.length; i++) for (let j = i + 1; j < loose.length; j++) {
    const a = boxes[i], b = boxes[j];
    if (loose[i].contains(loose[j]) || loose[j].contains(loose[i])) continue;
    if (loose[i].closest(".tile, label, .wrap") && loose[i].closest(".tile, label, .wrap") === loose[j].closest(".tile, label, .wrap")) continue;
    const w = Math.min(a.right, b.right) - Math.max(a.left, b.left), h = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (w > SLACK && h > SLACK) faults.push(`overlap: ${name(loose[i])} and ${name(loose[j])}`);
  }
  for (const selector of wanted) {
    const node = document.querySelector(selector), box = node?.getBoundingClientRect();
    const there = box && document.elementFromPoint((box.left + box.right) / 2, (box.top + box.bottom) / 2);
    if (!box || box.left < 0 || box.right > wide || box.top < 0 || box.bottom > high || !node.contains(there)) faults.push(`out of reach: ${selector}`);
  }
  return [...new Set(faults)];
}
