"""Widgets and HTML that several tabs share."""
