// The tab stands in the address (?tab=gallery): a reload and a bookmark come back to it, Back and Forward go between tabs.
const tabOf = (button) => button.id.replace(/-view-button$/, "");
const tabButtons = () => [...document.querySelectorAll('#views > .tab-wrapper [role="tab"][id$="-view-button"]')];
const tabAsked = () => new URLSearchParams(location.search).get("tab") ?? "studio";

function tabAddress(name) {
  const address = new URL(location.href);
  if (name === "studio") address.searchParams.delete("tab");
  else address.searchParams.set("tab", name);
  return address;
}

function goToTab(name) {
  const button = tabButtons().find((each) => tabOf(each) === name);
  if (button?.getAttribute("aria-selected") === "false") button.click();
}

// The page chooses its first tab again while it builds itself: the one of the address is held until that is over, or
// until somebody presses another.
const HOLD = 4000; // ms
let held = tabAsked() === "studio" ? null : tabAsked(), holding = 0;
const letGo = () => { held = null; };

const turning = new MutationObserver(() => { // by a click, or by what another tab does ("Restore to canvas")
  const chosen = tabButtons().find((button) => button.getAttribute("aria-selected") === "true");
  if (held) {
    clearTimeout(holding);
    holding = setTimeout(letGo, HOLD);
    goToTab(held);
  } else if (chosen && tabOf(chosen) !== tabAsked()) history.pushState(null, "", tabAddress(tabOf(chosen)));
});
const standing = new MutationObserver(() => {
  const place = document.querySelector("#views > .tab-wrapper");
  if (!place || !tabButtons().length) return;
  standing.disconnect();
  if (held) goToTab(held);
  for (const event of ["pointerdown", "keydown"]) place.addEventListener(event, letGo);
  turning.observe(place, { attributes: true, attributeFilter: ["aria-selected"], subtree: true });
});
standing.observe(document.body, { childList: true, subtree: true });
window.addEventListener("popstate", () => { letGo(); goToTab(tabAsked()); });
