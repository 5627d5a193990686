// A row, its tokens and its layer light up together. gr.HTML gives: element.
const follow = (event) => {
  const place = event.target.closest("[data-object]")?.dataset.object;
  element.querySelector(".inside")?.classList.toggle("one", place !== undefined);
  for (const node of element.querySelectorAll("[data-object]")) node.classList.toggle("lit", node.dataset.object === place);
};
for (const name of ["mouseover", "focusin"]) element.addEventListener(name, follow);
element.addEventListener("mouseleave", () => follow({ target: element }));
