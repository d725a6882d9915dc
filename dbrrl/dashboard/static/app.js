// Chooses the page by the address, and starts listening.

import { attempt, listen, update } from "./api.js"
import { chartsPage } from "./charts.js"
import { h, show } from "./dom.js"
import { inspectPage } from "./inspect.js"
import { runPage } from "./run.js"
import { runsPage } from "./runs.js"

let leave = () => {}

export function go(address, replace = false) {
  if (replace) history.replaceState(null, "", address)
  else history.pushState(null, "", address)
  open()
}

let shown = ""

function open() {
  shown = location.pathname + location.search
  leave()
  const page = document.getElementById("page")
  const path = location.pathname
  for (const link of document.querySelectorAll("a[data-page]")) {
    if (link.getAttribute("href") === path) link.setAttribute("aria-current", "page")
    else link.removeAttribute("aria-current")
  }
  show(page)
  const run = path.match(/^\/run\/([0-9a-f]{16})$/)
  const inspected = path.match(/^\/inspect\/([0-9a-f]{16})$/)
  leave = (inspected ? inspectPage(page, inspected[1]) : run ? runPage(page, run[1]) : path === "/charts" ? chartsPage(page) : runsPage(page)) || (() => {})
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]")
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || link.target || link.hasAttribute("download")) return
  const address = new URL(link.href)
  if (address.origin !== location.origin || address.hash || address.pathname.startsWith("/api/")) return
  event.preventDefault()
  go(address.pathname + address.search)
  document.getElementById("page").focus({ preventScroll: true })
})
addEventListener("popstate", () => { if (location.pathname + location.search !== shown) open() })

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark"
  localStorage.setItem("theme", root.dataset.theme)
  dispatchEvent(new Event("themechange"))
})

show(document.getElementById("page"), h("p", { class: "hint" }, "Looking through the folder …"))
attempt(update).then(() => { open(); listen() })
