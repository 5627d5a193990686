// The dialog in which a folder or file is chosen. gr.HTML gives: element, props, trigger, watch. The value is
// `DialogValue` of path_dialog.py.
const dialog = element.querySelector("dialog");
let opened = null; // where the focus goes back to

function made(tag, text, values = {}) {
  return Object.assign(document.createElement(tag), { textContent: text, ...values });
}

function row(text, kind, name) {
  const button = made("button", text, { type: "button", className: kind });
  button.addEventListener("click", () => trigger("choose", { name }));
  const item = document.createElement("li");
  item.append(button);
  return item;
}

function build({ title, folder, above, folders, files, left_out, takes_folder, takes_files }) {
  const within = (name) => (folder ? `${folder.replace(/\/$/, "")}/${name}` : name);
  const list = document.createElement("ul");
  list.tabIndex = 0;
  list.setAttribute("aria-label", "Contents");
  list.append(...folders.map((name) => row(name, "folder", `open ${within(name)}`)));
  for (const name of files) {
    list.append(takes_files ? row(name, "file", `take ${within(name)}`) : made("li", name, { className: "file" }));
  }
  if (!list.children.length) list.append(made("li", "This folder is empty.", { className: "none" }));
  if (left_out) list.append(made("li", `… and ${left_out} more: type the path`, { className: "none" }));
  const top = document.createElement("header"), bottom = document.createElement("footer");
  const up = made("button", "Up", { type: "button", disabled: above === null });
  up.addEventListener("click", () => trigger("choose", { name: `open ${above}` }));
  top.append(up, made("p", folder || "Folders that the studio shows", { title: folder }));
  const cancel = made("button", "Cancel", { type: "button" });
  cancel.addEventListener("click", () => dialog.close());
  bottom.append(cancel);
  if (takes_folder) {
    const take = made("button", "Choose this folder", { type: "button", className: "take" });
    take.addEventListener("click", () => trigger("choose", { name: `take ${folder}` }));
    bottom.append(take);
  }
  dialog.setAttribute("aria-label", title);
  dialog.replaceChildren(made("h2", title), top, list, bottom);
}

function show() {
  if (!props.value?.open) {
    dialog.close();
    return;
  }
  build(props.value);
  if (!dialog.open) {
    opened = document.activeElement;
    dialog.showModal();
  }
  (dialog.querySelector("li button") ?? dialog.querySelector("footer button:last-child")).focus();
}

dialog.addEventListener("close", () => opened?.focus());
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); }); // beside it
dialog.addEventListener("keydown", (event) => {
  event.stopPropagation(); // keys of the page do nothing meanwhile
  const buttons = [...dialog.querySelectorAll("li button")], at = buttons.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (event.key === "Backspace") dialog.querySelector("header button").click();
  if (to === undefined || !buttons[to]) return;
  event.preventDefault();
  buttons[to].focus();
});
watch("value", show);
