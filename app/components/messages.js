// Messages: each in a box of its own and for its own time. Gradio puts messages of a kind into one box, which goes with
// the first of them; its boxes are hidden (studio.css), and what they say is shown here.
const MESSAGE_SECONDS = { info: 4, success: 4, warning: 10, error: 10 }; // of reading; a pointer or the focus stops them
const MOST_MESSAGES = 5; // at once: the oldest goes
const messages = Object.assign(document.createElement("section"), { id: "messages" });
messages.setAttribute("aria-label", "Messages");
document.body.append(messages);

function showMessage(kind, html) {
  const same = [...messages.children].find((shown) => shown.lastChild.innerHTML === html);
  same?.remove();
  const box = document.createElement("div"), text = document.createElement("div");
  const close = Object.assign(document.createElement("button"), { type: "button", textContent: "×" });
  close.setAttribute("aria-label", "Close");
  box.className = `message ${kind}`;
  box.setAttribute("role", kind === "info" || kind === "success" ? "status" : "alert");
  text.innerHTML = html; // escaped where it was made (messages.py), and by Gradio
  box.append(close, text);
  let timer = 0;
  const leave = () => box.remove();
  const stay = () => clearTimeout(timer);
  const count = () => { stay(); timer = setTimeout(leave, 1000 * MESSAGE_SECONDS[kind]); };
  close.addEventListener("click", leave);
  for (const event of ["pointerenter", "focusin"]) box.addEventListener(event, stay);
  for (const event of ["pointerleave", "focusout"]) box.addEventListener(event, count);
  messages.append(box);
  if (messages.children.length > MOST_MESSAGES) messages.firstChild.remove();
  count();
}

const escaped = (text) => Object.assign(document.createElement("i"), { textContent: text }).innerHTML;
document.addEventListener("say", ({ detail: { kind, title, text } }) => { // of the page itself
  showMessage(kind, `<b>${escaped(title)}</b><br>${escaped(text)}`);
});

// What Gradio itself says has no title, and no word of what to do.
const REFUSALS = [
  [/exceed the maximum allowed size of ([\d.]+) Mb: "?(.*?)"?$/s, (size, name) => `${name} is larger than ${Number(size)} MB. Choose a smaller file.`],
  [/^Invalid file type: (.*)\. Only (.*) allowed/s, (name, types) => `${name} is of no type that can be opened. Choose ${types.split(/,\s*/).join(", ").replace(/, ([^,]*)$/, " or $1")}.`],
];

function worded(html) {
  if (html.includes("<b>")) return html;
  const text = Object.assign(document.createElement("i"), { innerHTML: html }).textContent.trim();
  for (const [pattern, words] of REFUSALS) {
    const found = pattern.exec(text);
    if (found) return `<b>Not opened</b><br>${escaped(words(...found.slice(1)))}`;
  }
  return `<b>Not done</b><br>${escaped(text)}`;
}

function takeMessages(node) {
  if (node.nodeType !== Node.ELEMENT_NODE) return;
  const items = node.matches(".toast-message-item") ? [node] : node.querySelectorAll(".toast-message-item");
  for (const item of items) {
    const kind = Object.keys(MESSAGE_SECONDS).find((name) => item.classList.contains(name)) ?? "error";
    showMessage(kind, worded(item.querySelector(".toast-message-text").innerHTML));
  }
}

const listening = new MutationObserver((changes) => changes.forEach(({ addedNodes }) => addedNodes.forEach(takeMessages)));
const arriving = new MutationObserver(() => { // Gradio's place for messages comes after the header
  const place = document.querySelector(".toast-wrap");
  if (!place) return;
  arriving.disconnect();
  takeMessages(place);
  listening.observe(place, { childList: true, subtree: true });
});
arriving.observe(document.body, { childList: true, subtree: true });
