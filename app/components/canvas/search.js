// ---- class search ------------------------------------------------------------------------------------------------------
const popup = $(".popup"), query = $(".popup input"), matches = $(".popup ul");
let found = [], highlighted = 0;

function openPopup() {
  popup.hidden = false;
  query.value = "";
  search();
  const frame = pixels(selection.size ? outline(picked().map(({ box }) => box)) : [0, 1, 0, 1]);
  const canvas = popup.parentElement.getBoundingClientRect();
  const offset = svg.getBoundingClientRect(), x = offset.left - canvas.left + frame.x;
  const y = offset.top - canvas.top + frame.y + frame.height + 8;
  popup.style.left = `${clamp(x, 6, Math.max(6, canvas.width - popup.offsetWidth - 6))}px`;
  popup.style.top = `${clamp(y, 6, Math.max(6, canvas.height - popup.offsetHeight - 6))}px`;
  query.focus({ preventScroll: true });
}

function closePopup() {
  if (popup.hidden) return;
  popup.hidden = true;
  svg.focus({ preventScroll: true });
}

function rank(label, text) {
  const name = label.toLowerCase(), inside = name.split(" ").some((word) => word.startsWith(text));
  return [name.startsWith(text), inside, name.includes(text), true].indexOf(true);
}

function search() {
  const text = query.value.trim().toLowerCase();
  found = [...props.things, ...props.stuff].filter((label) => rank(label, text) < 3);
  const used = (label) => (recent.includes(label) ? recent.indexOf(label) : recent.length);
  found.sort((a, b) => rank(a, text) - rank(b, text) || (text ? 0 : used(a) - used(b)));
  highlighted = text ? 0 : Math.max(0, found.indexOf(current()?.label ?? pen.label));
  showMatches();
}

function showMatches() {
  const counts = counted();
  matches.replaceChildren(...found.map((label, index) => {
    const item = document.createElement("li"), kind = isStuff(label) ? "stuff" : "thing", count = counts.get(label);
    Object.assign(item, { id: `class-${index}` }).setAttribute("role", "option");
    item.setAttribute("aria-selected", String(index === highlighted));
    item.dataset.label = label;
    item.append(label, Object.assign(document.createElement("small"), { textContent: count ? `${count} · ${kind}` : kind }));
    return item;
  }));
  $(".popup p").hidden = found.length > 0;
  query.setAttribute("aria-activedescendant", found.length ? `class-${highlighted}` : "");
  matches.children[highlighted]?.scrollIntoView({ block: "nearest" });
}

function choose(label) {
  if (label) classify(label);
  closePopup();
}

query.addEventListener("input", () => {
  query.value = query.value.replace(/[123]/g, (digit) => { tag(TAGS[digit - 1]); return ""; }); // tags work here too
  search();
});
query.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "Enter") return choose(found[highlighted]);
  event.stopPropagation();
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && found.length) { highlighted = (highlighted + step + found.length) % found.length; showMatches(); }
  else if (event.key === "Enter") { if (found.length) choose(found[highlighted]); }
  else if (event.key === "Escape") closePopup();
  else if (event.key === "Delete" && !query.value) remove();
  else return;
  event.preventDefault();
});
matches.addEventListener("pointerdown", (event) => {
  event.preventDefault();
  choose(event.target.closest("li")?.dataset.label);
});
