"""Models, detectors and generation behind the page. No widgets."""
