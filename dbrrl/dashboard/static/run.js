// One run: its state, learning curve, evaluations, settings, journal and files.

import { attempt, onChange, request } from "./api.js"
import { ask, duration, h, moment, number, parts, plain, show, tell } from "./dom.js"
import { paint, plot } from "./plot.js"
import { steering } from "./steering.js"
import { badge } from "./runs.js"

const LONGEST = 100_000 // characters of a text that are shown
const TABS = ["Curve", "Evaluations", "Steering", "Settings", "Log", "Files"]

export function runPage(page, id) {
  const wanted = location.hash.slice(1)
  const state = { tab: TABS.includes(wanted) ? wanted : "Curve", statistics: ["mean_return", "mean"] }
  const head = h("section", { class: "head" })
  const tabs = h("div", { class: "tabs", role: "tablist", "aria-label": "About the run" })
  const body = h("section", { id: "tab", role: "tabpanel", tabindex: "0" })
  page.append(head, tabs, body)
  let detail = null
  let chart = null
  let asked = 0

  const load = async () => {
    const ticket = ++asked
    let found = null
    let problem = null
    try { found = await request("GET", `/api/runs/${id}`) } catch (error) { problem = error }
    if (ticket !== asked) return
    if (problem && !detail) {
      show(head, h("h1", {}, problem.status === 404 ? "No such run" : "The run cannot be shown"),
        h("p", {}, `${problem.message} `, h("a", { href: "/" }, "All runs")))
    } else if (problem) {
      tell(problem.message, true)
    } else {
      detail = found
      draw()
    }
  }
  const open = (tab) => {
    state.tab = tab
    history.replaceState(null, "", `#${tab}`)
    draw()
  }
  const draw = () => {
    parts(head, headParts(detail))
    parts(tabs, [[state.tab, () => TABS.map((tab) => h("button", {
      type: "button", role: "tab", "data-key": tab, "aria-selected": String(tab === state.tab), "aria-controls": "tab",
      onclick: () => open(tab),
      onkeydown: (event) => {
        const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key]
        if (!by) return
        open(TABS[(TABS.indexOf(tab) + by + TABS.length) % TABS.length])
        tabs.querySelector("[aria-selected=true]").focus()
      },
    }, tab))]])
    if (state.tab !== "Curve" && chart) { chart.destroy(); chart = null }
    if (state.tab === "Curve") drawCurve()
    else if (state.tab === "Evaluations") parts(body, [[["evaluations", detail.evaluations, detail.first_evaluation], () => evaluations(detail, id)]])
    else if (state.tab === "Steering") parts(body, steering(detail, state, draw))
    else if (state.tab === "Settings") show(body, settings(detail))
    else if (state.tab === "Log") show(body, log(detail))
    else parts(body, files(detail, id))
  }
  const drawCurve = async () => {
    if (!chart) {
      const holder = h("div", { class: "plot", role: "img", "aria-label": "Learning curve" })
      show(body, h("div", { class: "controls", id: "choose" }), holder, h("div", { class: "legend" }))
      chart = plot(holder)
    }
    const names = detail.metrics.filter((metric) => !["steps", "elapsed", "episodes"].includes(metric.name))
    parts(body.querySelector("#choose"), [[[names, state.statistics], () => [h("details", { class: "menu", "data-key": "menu" }, h("summary", { "data-key": "choose" },
      `Statistic: ${state.statistics.join(", ") || "none"}`), h("div", { class: "choices" }, names.map((metric) => h("label", { class: "choice",
      title: metric.meaning }, h("span", {}, h("input", { type: "checkbox", "data-key": metric.name,
      checked: state.statistics.includes(metric.name), onchange: () => {
        state.statistics = state.statistics.includes(metric.name)
          ? state.statistics.filter((name) => name !== metric.name) : [...state.statistics, metric.name]
        drawCurve()
      } }), ` ${metric.name}`), h("span", { class: "hint" }, metric.meaning))))),
    h("a", { class: "button", href: `/charts?runs=${id}&y=${state.statistics.join(",")}` }, "Open as a chart")]]])
    const lines = state.statistics.map((y) => ({ runs: [id], y, label: y }))
    const found = lines.length ? await attempt(() => request("POST", "/api/lines", { lines, points: 1000 })) : null
    if (!chart) return
    const drawn = found ? found.lines.filter((line) => line.places.length) : []
    chart.update(drawn, { xLabel: "environment steps", yLabel: units(detail, state.statistics), height: 380 })
    show(body.querySelector(".legend"), drawn.length ? "" : h("p", { class: "hint" }, "Nothing is logged yet."),
      drawn.map((line, index) => h("span", { class: "series" }, h("span", { class: "swatch", "data-index": String(index) }),
        line.label, " ", h("span", { class: "value" }, number(line.values[line.values.length - 1])))))
    paint(body)
  }
  load()
  const ended = onChange((changed, removed) => {
    if (changed.has(id) || removed.includes(id)) load()
  })
  const retheme = () => paint(body)
  addEventListener("themechange", retheme)
  return () => { ended(); removeEventListener("themechange", retheme); if (chart) chart.destroy() }
}

function units(detail, names) {
  const found = new Set(names.map((name) => (detail.metrics.find((one) => one.name === name) || {}).unit).filter(Boolean))
  return [...found].join(", ")
}

/** The parts of the head, each with what it depends on: see `parts`. */
function headParts({ run, title, folder, resume }) {
  const share = run.total ? Math.min(1, run.steps / run.total) : 0
  const over = ["stopped", "failed", "stale"].includes(run.state)
  return [
    [[run.path, run.name, run.state, run.note, run.text, run.problems], () => [
      h("p", { class: "hint" }, h("a", { href: "/" }, "Runs"), " / ", run.path),
      h("h1", {}, run.name, " ", badge(run)),
      h("p", {}, title, " ", run.state !== "damaged" && h("a", { class: "button", href: `/inspect/${run.id}` },
        "Inspect an episode"), run.note && h("span", { class: "note" }, run.note))]],
    [run, () => [
      h("progress", { max: "1", value: String(share), "aria-label": "Steps done" }),
      h("dl", { class: "facts" },
        fact("steps", `${number(run.steps)} of ${number(run.total)}`), fact("score", number(run.score)),
        fact("best", number(run.best)), fact("time", duration(run.elapsed)), fact("started", moment(run.started)),
        fact("commit", run.commit.slice(0, 10) || "–"), fact("tags", run.tags.join(", ") || "–"))]],
    [[run.state, run.text, run.problems, resume, folder], () => [
      run.state === "failed" && h("pre", { class: "problem" }, run.text),
      run.state === "damaged" && h("p", { class: "problem" }, run.text),
      run.state === "stale" && h("p", { class: "problem" }, `It is not going on: ${run.text}.`),
      run.problems.map((text) => h("p", { class: "problem" }, text)),
      over && h("p", {}, "To go on with it: ", h("code", {}, resume)),
      h("p", { class: "hint" }, "Folder: ", h("code", {}, folder))]],
  ]
}

function fact(name, text) {
  return h("div", {}, h("dt", {}, name), h("dd", {}, text))
}

function evaluations({ evaluations: rows, first_evaluation: first }, id) {
  if (!rows.length) return h("p", { class: "hint" }, "It has not been evaluated yet.")
  const names = Object.keys(rows[0])
  return h("div", { class: "scroll" }, h("table", {},
    h("thead", {}, h("tr", {}, ["", ...names].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, rows.map((row, index) => h("tr", {},
      h("td", {}, h("button", { type: "button", class: "plain link", "data-key": `episodes ${index}`,
        "aria-label": `Episodes of evaluation ${first + index}`, onclick: () => episodes(id, first + index) }, "episodes")),
      names.map((name) => h("td", { class: "number" }, number(row[name]))))).reverse())))
}

async function episodes(id, evaluation) {
  const found = await attempt(() => request("GET", `/api/runs/${id}/evaluation?number=${evaluation}`))
  if (!found) return
  const told = found.episodes.some((one) => one.success !== null)
  const columns = ["episode", "return", "length", ...(told ? ["success"] : [])]
  ask("Episodes of an evaluation", (close) => [
    found.episodes.length ? h("table", {}, h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, found.episodes.map((one, index) => h("tr", {}, [index, one.total, one.length, one.success]
        .slice(0, columns.length).map((value) => h("td", { class: "number" }, number(value)))))))
      : h("p", { class: "hint" }, "The run has kept none of its episodes: it is of an earlier version."),
    h("p", { class: "buttons" }, h("button", { type: "button", class: "primary", onclick: () => close(true) }, "Close"))])
}

function settings({ tables }) {
  const preset = tables.preset || {}
  const simple = Object.entries(tables).filter(([, value]) => typeof value !== "object" || Array.isArray(value))
  const others = Object.entries(tables).filter(([, value]) => typeof value === "object" && !Array.isArray(value))
  const table = (title, entries) => [h("h2", {}, title), h("table", { class: "settings" }, h("tbody", {},
    entries.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, plain(value)),
      h("td", { class: "hint" }, name in preset && title !== "preset" ? "by the preset" : "")))))]
  return [table("run", simple), others.map(([name, entries]) => table(name === "config" ? "agent" : name,
    Object.entries(entries)))]
}

function log({ events }) {
  if (!events.length) return h("p", { class: "hint" }, "The run has no journal: it is of an earlier version.")
  return h("ol", { class: "log" }, [...events].reverse().map((event) => h("li", { class: event.event },
    h("time", {}, moment(event.time)), " ", h("span", { class: "kind" }, event.event), " ",
    event.text || (event.step !== null && event.step !== undefined ? `at step ${number(event.step)}` : ""))))
}

async function read(file, address) {
  const text = await attempt(async () => (await (await request("GET", address, undefined, true)).text()))
  if (text === null) return
  const short = text.slice(0, LONGEST)
  ask(file.path, (close) => [h("pre", { class: "text" }, short),
    short.length < text.length && h("p", { class: "hint" }, `The first ${number(LONGEST)} characters.`),
    h("p", { class: "buttons" }, h("button", { type: "button", class: "primary", onclick: () => close(true) }, "Close"))])
}

/** The parts of the tab of files, each with what it depends on: see `parts`. */
function files({ files: found }, id) {
  if (!found.length) return [["empty", () => h("p", { class: "hint" }, "The folder is empty.")]]
  const address = (file) => `/api/runs/${id}/file?path=${encodeURIComponent(file.path)}`
  const pictures = found.filter((file) => file.kind === "image")
  const played = found.filter((file) => ["video", "audio"].includes(file.kind))
  return [
    [pictures, () => pictures.map((file) => h("figure", {}, h("img", { src: address(file), alt: file.path, loading: "lazy" }),
      h("figcaption", {}, file.path)))],
    [played, () => played.map((file) => h("figure", {}, h(file.kind, { src: address(file), controls: true, preload: "metadata" }),
      h("figcaption", {}, file.path)))],
    [found, () => h("table", {}, h("thead", {}, h("tr", {}, ["file", "bytes", "changed"].map((name) =>
      h("th", { scope: "col" }, name)))),
    h("tbody", {}, found.map((file) => h("tr", {},
      h("th", { scope: "row" }, h("a", { href: address(file), download: file.path.split("/").pop() }, file.path),
        file.kind === "text" && [" ", h("button", { type: "button", class: "plain link", "data-key": `read ${file.path}`,
          "aria-label": `Read ${file.path}`, onclick: () => read(file, address(file)) }, "read")]),
      h("td", { class: "number" }, number(file.size)), h("td", {}, moment(file.modified))))))],
  ]
}
