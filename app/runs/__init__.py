"""Jobs that outlive the page, and what the tabs that start them share."""
