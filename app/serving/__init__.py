"""How the page is served, and who may drive it: hosts, origins, the page's token, logins, sizes, start and end."""
