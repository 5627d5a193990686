"""What is drawn of a layout, and what the page shows of it. No gradio here."""
