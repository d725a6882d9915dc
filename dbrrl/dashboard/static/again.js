// Opens the address again if this browser has a session: a link on another site's page is followed without its cookie.

fetch("/api/charts").then((answer) => { if (answer.ok && location.pathname !== "/login") location.reload() })
