(_kept, _number, ...rest) => {
  // What was last on the canvas of this tab, by world (canvas/state.js), and the tab's own number.
  document.dispatchEvent(new CustomEvent("keep-canvas"));
  try {
    const number = sessionStorage.getItem("tab") ?? String(Math.random()).slice(2);
    sessionStorage.setItem("tab", number);
    const link = new URLSearchParams(location.search).get("layout") ?? "";
    const canvases = Object.entries(sessionStorage).map(([key, value]) => [...key.split(" "), value])
      .filter(([what, , of]) => what === "canvas" && of === link).map(([, world, , value]) => [world, value]);
    return [JSON.stringify(Object.fromEntries(canvases)), number, ...rest];
  } catch { return ["", "", ...rest]; } // a browser that keeps nothing
}
