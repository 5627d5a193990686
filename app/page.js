// What belongs to the page as a whole: a menu closes when something else is pressed, or by Escape; where none is open,
// Escape presses the button that leads back from something enlarged.
const opened = () => [...document.querySelectorAll(".menu > button.open")];

document.addEventListener("pointerdown", (event) => {
  if (event.target.closest("#messages")) return; // what a message says may be about the menu
  for (const button of opened()) if (!button.parentElement.contains(event.target)) button.click();
});
document.addEventListener("close-menus", () => { for (const button of opened()) button.click(); });
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const menus = opened();
  if (!menus.length && !event.defaultPrevented && !document.querySelector("dialog[open]")) {
    [...document.querySelectorAll("button.escape")].find((button) => button.checkVisibility())?.click();
  }
  for (const button of menus) {
    if (button.parentElement.contains(document.activeElement)) button.focus();
    button.click();
  }
});
