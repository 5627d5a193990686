// A figure: pictures in rows. gr.HTML gives: element, props, watch. The value is `SheetValue` of comparer.py.
const sheet = element.querySelector(".sheet"), panels = element.querySelector(".panels");
const meter = element.querySelector(".meter"), hint = element.querySelector(".hint");

function picture({ image, preview, marks, caption }, busy) {
  const figure = document.createElement("figure"), address = image?.url ?? preview;
  figure.className = busy ? "picture busy" : "picture";
  figure.innerHTML = `<div class="frame">${marks}</div><figcaption>${caption}</figcaption>`; // both are escaped in views.py
  const img = Object.assign(document.createElement("img"), { alt: "generated image" });
  if (address) figure.querySelector(".frame").prepend(Object.assign(img, { src: address }));
  if (image) {
    const link = document.createElement("a");
    Object.assign(link, { className: "download", textContent: "Save", href: image.url, download: image.orig_name });
    figure.querySelector("figcaption").append(link);
  }
  return figure;
}

function show() {
  const { panels: shown, columns, ratio, progress, layout } = props.value ?? { panels: [], columns: 1, ratio: 1, progress: null };
  const busy = progress !== null && progress !== undefined;
  for (const [name, number] of Object.entries({ columns, ratio, rows: Math.ceil(shown.length / columns) || 1 })) {
    sheet.style.setProperty(`--${name}`, number);
  }
  if (layout) panels.dataset.madeOf = layout; else delete panels.dataset.madeOf;
  panels.replaceChildren(...shown.map((panel) => picture(panel, busy)));
  hint.hidden = shown.length > 0 || !hint.textContent;
  meter.hidden = !busy;
  meter.firstElementChild.style.width = `${100 * (progress || 0)}%`;
}

show();
watch("value", show);
