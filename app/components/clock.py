"""Clocks of the page: one runs while its tab is selected."""

from collections.abc import Mapping, Sequence

import gradio as gr

from app.components.messages import QUIET

LOOK_SECONDS = 2.0  # between two looks at what runs have written
SWITCH = "() => [{}]"
ACTIVE = "{{ __type__: 'update', active: {} }}"


def new_clock() -> gr.Timer:
    """One that stands still until its tab is selected."""
    return gr.Timer(LOOK_SECONDS, active=False)


def run_while_selected(clocks: Mapping[gr.Tab, gr.Timer], tabs: Sequence[gr.Tab]) -> None:
    """A tab's clock runs until another one of `tabs` is selected. To be wired before whatever else a selection does.

    The page itself switches them: a reload selects tabs in quick succession, and the server's answers may overtake one
    another, which left the clock of a selected tab standing still. What a selection does is done in turn, so whatever
    came before would be waited for.
    """
    for tab in tabs:
        switched = ", ".join(ACTIVE.format("true" if own is tab else "false") for own in clocks)
        tab.select(None, None, list(clocks.values()), js=SWITCH.format(switched), **QUIET)
