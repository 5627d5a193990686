"""The left card of the studio: the canvas, layouts to choose from, files in and out. Widgets and wiring only."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from app.components.canvas_sizes import proposed_sizes
from app.components.editor import LayoutEditor
from app.components.messages import CHOOSE, EACH_CHOICE, QUIET, Messages, Updates, say
from app.engine.studio import Studio
from app.store.layout_store import LayoutStore
from app.studio import layout_files
from app.studio.layout_files import Form, Opened
from app.studio.shelf import shelf_html, show_prompt
from detdiffusion.layout import Layout
from detdiffusion.text.prompt import knows_free_text
from training.data.images import SUFFIXES

# A hidden button's link is that of the new file by then.
CLICK_FILE = """() => setTimeout(() => document.querySelector("#layout-file").click(), 300)"""
COPY_LINK = """(packed) => {
  if (!packed) return "";
  const link = location.origin + location.pathname + "?layout=" + packed;
  navigator.clipboard?.writeText(link).catch(() => {});
  return link;
}"""
UNCHANGED = "The layout is unchanged."


class LayoutCard:
    """The widgets of the card, and what happens between them."""

    def __init__(self, studio: Studio, store: LayoutStore) -> None:
        self.studio, self.store = studio, store
        with gr.Row(elem_classes="bar"):
            gr.HTML("<h2>Layout</h2>", elem_classes="title")
            with gr.Accordion("Layouts", open=False, elem_id="layouts", elem_classes="menu") as self.menu:
                with gr.Row(elem_id="save-as"):
                    self.name = gr.Textbox(
                        placeholder="Save this layout as…",
                        max_lines=1,
                        show_label=False,
                        container=False,
                        elem_id="layout-name",
                    )
                    self.save = gr.Button("Save", size="sm", elem_id="save-layout")
                self.shelf = gr.HTML(
                    self._shelf_html(),
                    js_on_load=CHOOSE,
                    elem_id="shelf",
                    apply_default_css=False,
                )
            self.open = gr.UploadButton(
                "Open",
                file_count="multiple",
                file_types=[".json", ".xml", ".txt", ".yaml", ".yml", *SUFFIXES],
                size="sm",
                elem_id="open-file",
            )
            with gr.Accordion("Share", open=False, elem_id="share", elem_classes="menu"):
                with gr.Row(elem_id="share-row"):
                    self.form = gr.Dropdown(
                        [str(form) for form in Form],
                        value=str(Form.JSON),
                        label="Form",
                        show_label=False,
                        container=False,
                        elem_id="share-form",
                    )
                    self.export = gr.Button("Download", size="sm", elem_id="export-layout")
                with gr.Row(elem_id="link-row"):
                    self.link = gr.Textbox(
                        placeholder="Link", max_lines=1, show_label=False, container=False, elem_id="link"
                    )
                    self.copy = gr.Button("Copy link", size="sm", elem_id="copy-link")
            self.file = gr.DownloadButton(
                "", elem_id="layout-file"
            )  # never seen: a file has to be there before a click
        self.editor = LayoutEditor(**self.words(), elem_id="editor")
        self.prompt = gr.HTML(elem_id="prompt", apply_default_css=False)
        self.shown = [self.editor, self.prompt]

    def wire(self) -> None:
        """Connects the card's own widgets."""
        quick: dict[str, Any] = {"queue": False, **QUIET}
        self.editor.commit(self._on_edit, self.editor, self.prompt, trigger_mode="always_last", **quick)
        self.shelf.choose(self._on_tile, None, [*self.shown, self.shelf, self.menu], **EACH_CHOICE)
        saved = [self.shelf, self.name]
        self.save.click(self._on_save, [self.name, self.editor], saved, **QUIET)
        self.name.submit(self._on_save, [self.name, self.editor], saved, **QUIET)
        packed = self.export.click(self._on_export, [self.editor, self.form], self.file, **QUIET)
        packed.success(None, js=CLICK_FILE, queue=False)
        linked = self.copy.click(self._on_link, self.editor, self.link, **QUIET)
        linked.success(None, self.link, self.link, js=COPY_LINK, queue=False)

    def show(self, layout: Mapping[str, Any], backdrop: str = "") -> Updates:
        """A layout from elsewhere, on the canvas."""
        model = self.studio.model  # which another visitor may have chosen, since this page asked
        canvas = gr.update(value={**layout, "world": model.world}, backdrop=backdrop, **self.words())
        return {self.editor: canvas, self.prompt: show_prompt(model, layout)}

    def open_with(self, layout: Mapping[str, Any]) -> Updates:
        """The whole card of a page that opens: layout, layouts to choose from, the model's words."""
        return {**self.layouts_now(), **self.show(layout)}

    def layouts_now(self) -> Updates:
        """The layouts to choose from, as they are now."""
        return {self.shelf: self._shelf_html()}

    def _shelf_html(self) -> Markup:
        """The model's examples, and of the saved layouts those that it can draw."""
        model = self.studio.model
        known = set(model.vocabulary.labels)
        own = {name: layout for name, layout in self.store.layouts().items() if known.issuperset(layout.labels)}
        return shelf_html(model.examples.layouts, own, model.examples.faults)

    def open_files(self, paths: list[str]) -> Opened:
        """LayoutError or DataError if they hold no layout."""
        return layout_files.open_files(self.studio, [Path(path) for path in paths])

    def words(self) -> dict[str, Any]:
        """The editor's options that follow the model."""
        vocabulary, why, pipeline = (
            self.studio.model.vocabulary,
            self.studio.model.why_no_tags,
            self.studio.model.pipeline,
        )
        words = {"things": list(vocabulary.things), "stuff": list(vocabulary.stuff), "untagged": why}
        words["world"] = self.studio.model.world
        sizes = proposed_sizes(pipeline.native_size, pipeline.size_multiple)
        captions = knows_free_text(pipeline.tokenizer)
        return {**words, "captions": captions, "sizes": sizes, "multiple": pipeline.size_multiple}

    def _on_edit(self, value: Mapping[str, Any]) -> str:
        return show_prompt(self.studio.model, value)

    def _on_tile(self, event: gr.EventData) -> Updates:
        kind, _, name = str(event.name).partition(" ")
        with Messages("Not opened", UNCHANGED):
            if kind == "remove":
                self.store.remove(name)
                return self.layouts_now()
            examples = self.studio.model.examples.layouts
            found = examples.get(name) if kind == "example" else self.store.layouts().get(name)
            if found is None:
                return self.layouts_now()
            layout = self.studio.model.vocabulary.resolve(found).to_json()
            return {**self.show(layout), self.menu: gr.update(open=False)}
        return {self.editor: gr.skip()}

    def _on_save(self, name: str, value: Mapping[str, Any]) -> Updates:
        with Messages("Not saved", UNCHANGED):
            say("Saved", self.store.save(name, Layout.from_json(value)))
            return {**self.layouts_now(), self.name: ""}
        return {self.name: gr.skip()}

    def _on_export(self, value: Mapping[str, Any], form: str) -> str:
        with Messages("Not written", UNCHANGED):
            folder = self.studio.pictures.parent / "cache" / "layouts"
            layout = self.studio.model.vocabulary.resolve(Layout.from_json(value))
            return str(layout_files.export_file(layout, Form(form), self.studio.model.vocabulary.things, folder))
        raise gr.Error("", visible=False)

    def _on_link(self, value: Mapping[str, Any]) -> str:
        with Messages("No link", UNCHANGED):
            return layout_files.link_of(Layout.from_json(value))
        return ""
