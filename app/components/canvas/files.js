// ---- files dropped on the canvas go the way of the Open button ---------------------------------------------------------
async function dropped(transfer) {
  if (transfer.files.length) return [...transfer.files];
  const address = transfer.getData("text/uri-list"); // a result picture dragged from this page
  if (!address || new URL(address).origin !== location.origin) return [];
  return [new File([await (await fetch(address)).blob()], "picture.png", { type: "image/png" })];
}

const target = $(".canvas");
target.addEventListener("dragover", (event) => { event.preventDefault(); target.classList.add("over"); });
target.addEventListener("dragleave", () => target.classList.remove("over"));
target.addEventListener("drop", async (event) => {
  event.preventDefault();
  target.classList.remove("over");
  const files = await dropped(event.dataTransfer), input = document.querySelector("#layout-card input[type=file]");
  if (!files.length || !input) return;
  const transfer = new DataTransfer();
  files.forEach((file) => transfer.items.add(file));
  input.files = transfer.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
});

// ---- the scene in words -----------------------------------------------------------------------------------------------
$(".caption").addEventListener("change", ({ target: { value } }) => change(() => { layout.caption = value.trim(); }));
$(".caption").addEventListener("keydown", (event) => event.stopPropagation());

// ---- start -------------------------------------------------------------------------------------------------------------
new ResizeObserver(draw).observe(svg);
window.addEventListener("pagehide", keep);
document.addEventListener("keep-canvas", keep); // another model takes over
watch("value", pull);
watch("backdrop", draw);
watch(["world", "things", "stuff", "untagged", "captions", "sizes", "multiple"], () => { // another model, with other words
  pull();
  if (![...props.things, ...props.stuff].includes(pen.label)) pen.label = props.things[0] ?? props.stuff[0];
  draw();
});
pull();
