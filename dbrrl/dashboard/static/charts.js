// Charts over runs: what is drawn is all in the address, so that it can be shared and saved.

import { about, attempt, onChange, request, runs, want } from "./api.js"
import { column, fieldNames, matches, parse, settingsOf } from "./columns.js"
import { ask, h, keyed, number, show, tell } from "./dom.js"
import { paint, plot } from "./plot.js"

const AXES = { steps: "environment steps", elapsed: "seconds", episodes: "training episodes", num_updates: "updates" }
const LINES = 100 // of a chart
const RUNS = 20_000 // of a group
const NONE = [null, null] // no range

export function chartsPage(page) {
  const state = read()
  let metrics = []
  let settings = []
  let lines = []
  let saved = {}
  const controls = h("div", { class: "controls" })
  const holder = h("div", { class: "plot", role: "img", "aria-label": "Chart" })
  const legend = h("div", { class: "legend" })
  const hint = h("p", { class: "hint" })
  const title = h("h2")
  page.append(h("h1", { class: "hide-visually" }, "Charts"), controls, title, holder, hint, legend)
  const chart = plot(holder)

  const describe = (name) => {
    const known = metrics.find((metric) => metric.name === name)
    return known ? `${name}${known.unit && known.unit !== name ? ` (${known.unit})` : ""}` : name
  }
  const style = () => ({
    title: state.title, x_label: AXES[state.x], y_label: state.y.filter((name) => !state.right.includes(name))
      .map(describe).join(", "), right_label: state.right.map(describe).join(", "), right: state.right,
    log_x: state.logX, log_y: state.logY, dark: document.documentElement.dataset.theme === "dark",
    x_range: state.xRange, y_range: state.yRange, right_range: state.rightRange,
  })
  const wanted = () => ({
    lines: requests(state, chosen(state)), x: state.x, smooth: state.smooth, center: state.center, within: state.xRange,
    points: Math.max(200, Math.min(2000, holder.clientWidth)),
  })

  let asked = 0
  const fetchLines = async () => {
    const ticket = ++asked
    await attempt(() => want([state.group, ...settingsOf(parse(state.filter))]
      .filter((name) => name && !fieldNames.includes(name))))
    if (ticket !== asked) return
    const chart = wanted()
    const found = chart.lines.length ? await attempt(() => request("POST", "/api/lines", chart)) : { lines: [] }
    if (!found || ticket !== asked) return // a later question has been asked
    lines = found.lines.filter((line) => line.places.length)
    const none = found.lines.length - lines.length
    const over = chosen(state).length
    const apart = found.lines.filter((line) => !line.places.length && line.runs.length > 1).length
    const below = lines.filter((line) => state.logY && !line.values.some((value) => value > 0)).length
    show(hint, lines.length || apart ? "" : nothing(),
      none > apart && lines.length ? `${none - apart} without this statistic. ` : "",
      apart ? `${apart} whose runs have no part of the axis in common, so that there is no mean. ` : "",
      below ? `${below} without values above 0, which a logarithm has not. ` : "",
      over > most(state) && !state.group ? `The first ${most(state)} of ${over} runs are drawn: filter or group them.` : "")
    draw()
  }
  const draw = () => {
    show(title, state.title)
    title.hidden = !state.title
    chart.update(lines, {
      right: state.right, xLabel: AXES[state.x], yLabel: style().y_label, rightLabel: style().right_label,
      logX: state.logX, logY: state.logY, xRange: state.xRange, yRange: state.yRange,
      rightRange: state.rightRange, height: Math.max(260, Math.min(560, innerHeight - 320)),
      onRange: (from, to) => change({ xRange: [from, to].map((end) => Number(end.toPrecision(7))) }, true),
      onReset: () => change({ xRange: NONE, yRange: NONE, rightRange: NONE }, true),
      onHover: (hovered) => drawLegend(hovered),
    })
    drawLegend(null)
  }
  const drawLegend = (hovered) => {
    const entry = (line, index) => h("button", {
      type: "button", class: "series", "data-key": `line ${index}`,
      onmouseenter: () => chart.highlight(index), onmouseleave: () => chart.highlight(null),
      onfocus: () => chart.highlight(index), onblur: () => chart.highlight(null),
      title: line.runs.length > 1 ? `${line.runs.length} runs, ${line.seeds} seeds` : "",
      onclick: () => line.runs.length === 1 && location.assign(`/run/${line.runs[0]}`),
    }, h("span", { class: "swatch", "data-index": String(index) }), line.label, " ", h("span", { class: "value" }))
    const place = hovered ? `at ${number(Math.round(hovered.place))} ${AXES[state.x]}` : ""
    keyed(legend, [...lines.map((line, index) => [`line ${index}`, [line.label, line.runs, line.seeds],
      () => entry(line, index), (one) => {
        one.lastChild.textContent = valueText(hovered && hovered.values[index], line)
      }]), ["place", "", () => h("span", { class: "hint" }), (one) => { one.textContent = place }]])
    paint(legend)
  }
  const nothing = () => {
    if (!runs.size) return "There are no runs yet."
    if (!state.y.length) return "Choose a statistic."
    if (!chosen(state).length) return "No run matches the filter."
    return state.x === "num_updates" ? "No run has this statistic by updates." : "No run has this statistic yet."
  }
  const change = (values, fetch = false) => {
    Object.assign(state, values)
    history.replaceState(null, "", write(state))
    drawControls()
    return fetch ? fetchLines() : draw()
  }
  const drawControls = () => show(controls,
    statistics(state, metrics, change),
    select("Against", "x", Object.entries(AXES), state.x, (x) => change({ x, xRange: NONE }, true)),
    select("One line for each", "group", groups(), state.group, (group) => change({ group }, true)),
    select("Of a group", "center", [["mean", "mean, 95 % interval"], ["iqm", "interquartile mean"]], state.center,
      (center) => change({ center }, true)),
    h("label", {}, "Smooth ", h("input", { type: "number", "data-key": "smooth", min: "1", max: "1000",
      value: String(state.smooth), onchange: (event) => change({ smooth: smoothing(event.target.value) }, true) })),
    check("log x", "logX", state.logX, change), check("log y", "logY", state.logY, change),
    h("label", { class: "grow" }, "Runs ", h("input", { type: "search", "data-key": "filter", value: state.filter,
      placeholder: state.runs.length ? `${state.runs.length} chosen; filter them` : "all; filter them",
      oninput: (event) => change({ filter: event.target.value }, true) })),
    state.runs.length > 0 && h("button", { type: "button", "data-key": "all", onclick: () => change({ runs: [] }, true) },
      "All runs"),
    h("details", { "data-key": "ranges" }, h("summary", {}, "Ranges and title"), h("div", { class: "controls" },
      range("x", "xRange", state.xRange, change), range("y", "yRange", state.yRange, change),
      state.right.length > 0 && range("right axis", "rightRange", state.rightRange, change),
      h("label", {}, "Title ", h("input", { type: "text", "data-key": "title", value: state.title, maxlength: "200",
        onchange: (event) => change({ title: event.target.value }) })))),
    h("span", { class: "buttons", role: "group", "aria-label": "Export" },
      ["png", "svg", "csv", "py"].map((format) => h("button", { type: "button", "data-key": format,
        onclick: () => save(format, wanted(), style()) }, format.toUpperCase())),
      h("button", { type: "button", "data-key": "share", onclick: share }, "Copy address"),
      !about.readOnly && h("button", { type: "button", "data-key": "keep", onclick: () => keep() }, "Save"),
      Object.keys(saved).length > 0 && h("button", { type: "button", "data-key": "saved", onclick: () => openSaved() },
        "Saved charts")))
  const groups = () => [["", "run"], ...[...new Set(["env", "agent", "tags", state.group, ...settings])].filter(Boolean)
    .map((name) => [name, column(name).title])]

  const keep = () => ask("Save the chart", (close) => {
    const name = h("input", { type: "text", required: true, maxlength: "200", "aria-label": "Name of the chart" })
    const problem = h("p", { class: "problem", role: "alert" })
    const submit = async (event) => {
      event.preventDefault()
      const body = { address: write(state).split("?")[1] || "" }
      const title = name.value.trim()
      if (!title || /^\.+$/.test(title)) { show(problem, "A name has letters or digits."); return }
      if (title in saved) { show(problem, "There is a chart of this name: remove it first, or choose another."); return }
      const path = `/api/charts/${encodeURIComponent(title)}`
      if (await attempt(() => request("PUT", path, body))) { saved[title] = body; drawControls(); close(true) }
    }
    return [h("form", { onsubmit: submit }, h("label", {}, "Name", name), problem, h("p", { class: "buttons" },
      h("button", { type: "button", onclick: () => close(null) }, "Cancel"),
      h("button", { type: "submit", class: "primary" }, "Save")))]
  })
  const openSaved = () => ask("Saved charts", (close) => [
    h("ul", {}, Object.entries(saved).map(([name, { address }]) => h("li", {},
      h("a", { href: `/charts?${address}`, onclick: () => close(true) }, name), " ",
      !about.readOnly && h("button", { type: "button", class: "plain", "aria-label": `Remove ${name}`, onclick: async () => {
        if (await attempt(() => request("DELETE", `/api/charts/${encodeURIComponent(name)}`))) {
          delete saved[name]
          drawControls()
          close(true)
        }
      } }, "×")))),
    h("p", { class: "buttons" }, h("button", { type: "button", onclick: () => close(null) }, "Close"))])

  const begin = async () => {
    const found = await attempt(() => request("GET", "/api/columns"))
    metrics = found ? found.metrics : []
    settings = found ? found.settings.map((one) => one.name) : []
    const charts = await attempt(() => request("GET", "/api/charts"))
    saved = charts ? charts.charts : {}
    drawControls()
    await fetchLines()
  }
  begin()
  const ended = onChange((changed) => {
    if (chosen(state).some((run) => changed.has(run.id))) fetchLines()
  })
  return () => { ended(); chart.destroy() }
}

function read() {
  const query = new URLSearchParams(location.search)
  const list = (name) => (query.get(name) || "").split(",").filter(Boolean)
  const pair = (name) => {
    const ends = (query.get(name) || "").split(",").map((text) => (text !== "" && Number.isFinite(Number(text)) ? Number(text) : null))
    return ends.length === 2 && !(ends[0] !== null && ends[1] !== null && ends[0] >= ends[1]) ? ends : NONE
  }
  return {
    runs: list("runs"), y: query.has("y") ? list("y") : ["mean"], right: list("right"),
    x: query.get("x") in AXES ? query.get("x") : "steps", group: query.get("group") || "",
    center: query.get("center") === "iqm" ? "iqm" : "mean", smooth: smoothing(query.get("smooth")),
    logX: query.has("logx"), logY: query.has("logy"), filter: query.get("filter") || "",
    xRange: pair("xrange"), yRange: pair("yrange"), rightRange: pair("rightrange"),
    title: query.get("title") || "",
  }
}

function smoothing(text) {
  return Math.min(1000, Math.max(1, Math.floor(Number(text)) || 1))
}

function write(state) {
  const query = new URLSearchParams()
  const put = (name, value) => value && query.set(name, value)
  put("runs", state.runs.join(","))
  if (state.y.join() !== "mean") query.set("y", state.y.join(","))
  put("right", state.right.join(","))
  put("x", state.x !== "steps" && state.x)
  put("group", state.group)
  put("center", state.center !== "mean" && state.center)
  put("smooth", state.smooth > 1 && String(state.smooth))
  put("logx", state.logX && "1")
  put("logy", state.logY && "1")
  put("filter", state.filter)
  for (const name of ["xRange", "yRange", "rightRange"]) {
    put(name.toLowerCase(), state[name].some((end) => end !== null) && state[name].map((end) => end ?? "").join(","))
  }
  put("title", state.title)
  const text = query.toString().replaceAll("%2C", ",")
  return text ? `/charts?${text}` : "/charts"
}

function chosen(state) {
  const filter = parse(state.filter)
  const given = state.runs.length ? state.runs.map((id) => runs.get(id)).filter(Boolean)
    : [...runs.values()].filter((run) => !run.hidden).sort((a, b) => b.started - a.started)
  return given.filter((run) => matches(run, filter))
}

/** How many runs or groups are drawn: all statistics of one are lines. */
function most(state) {
  return Math.floor(LINES / Math.max(1, state.y.length))
}

function requests(state, found) {
  const label = (text, y) => (state.y.length > 1 ? `${text}: ${y}` : text)
  if (!state.group) {
    return state.y.flatMap((y) => found.slice(0, most(state)).map((run) => ({ runs: [run.id], y, label: label(run.name, y) })))
  }
  const by = column(state.group)
  const keys = [...new Set(found.map((run) => by.text(run)))].sort()
  return state.y.flatMap((y) => keys.slice(0, most(state)).map((key) => ({
    runs: found.filter((run) => by.text(run) === key).slice(0, RUNS).map((run) => run.id), y, group: true,
    label: label(`${by.title} ${key || "none"}`, y),
  })))
}

function statistics(state, metrics, change) {
  const names = [...new Set([...state.y, ...metrics.map((metric) => metric.name)])].filter((name) => !(name in AXES))
  const toggle = (name) => {
    const y = state.y.includes(name) ? state.y.filter((one) => one !== name) : [...state.y, name]
    change({ y, right: state.right.filter((one) => y.includes(one)), yRange: NONE }, true)
  }
  const side = (name) => change({ rightRange: NONE,
    right: state.right.includes(name) ? state.right.filter((one) => one !== name) : [...state.right, name],
  })
  return h("details", { class: "menu", "data-key": "menu" },
    h("summary", { "data-key": "statistics" }, `Statistic: ${state.y.join(", ") || "none"}`),
    h("div", { class: "choices" }, names.map((name) => {
      const metric = metrics.find((one) => one.name === name)
      return h("div", { class: "choice" },
        h("label", { title: metric ? metric.meaning : "" },
          h("input", { type: "checkbox", "data-key": `y ${name}`, checked: state.y.includes(name),
            onchange: () => toggle(name) }), ` ${name}`,
          metric && h("span", { class: "hint" }, ` ${metric.meaning}`)),
        state.y.includes(name) && h("label", {}, h("input", { type: "checkbox", "data-key": `right ${name}`,
          checked: state.right.includes(name), onchange: () => side(name) }), " right axis"))
    })))
}

function select(title, key, options, value, choose) {
  return h("label", {}, `${title} `, h("select", { "data-key": key, onchange: (event) => choose(event.target.value) },
    options.map(([name, text]) => h("option", { value: name, selected: name === value }, text))))
}

function check(text, name, value, change) {
  return h("label", {}, h("input", { type: "checkbox", "data-key": name, checked: value,
    onchange: (event) => change({ [name]: event.target.checked }) }), ` ${text}`)
}

function range(text, name, value, change) {
  const set = (index) => (event) => {
    const ends = [...value]
    ends[index] = event.target.value === "" ? null : Number(event.target.value)
    if (ends[0] !== null && ends[1] !== null && ends[0] >= ends[1]) {
      tell(`The range of ${text}: "from" has to be less than "to".`, true)
      event.target.value = value[index] ?? ""
    } else change({ [name]: ends }, name === "xRange")
  }
  const field = (index) => h("input", { type: "number", step: "any", "data-key": `${name} ${index}`,
    "aria-label": `${text} ${index ? "to" : "from"}`, value: String(value[index] ?? ""), onchange: set(index) })
  return h("span", {}, `${text} from `, field(0), " to ", field(1), value.some((end) => end !== null)
    && h("button", { type: "button", "data-key": `${name} all`, onclick: () => change({ [name]: NONE }, name === "xRange") }, "all"))
}

function valueText(found, line) {
  if (!found) return line.values.length ? number(line.values[line.values.length - 1]) : ""
  const band = found.band ? ` (${number(found.band[0])} to ${number(found.band[1])})` : ""
  return `${number(found.value)}${band}`
}

async function save(format, chart, style) {
  const blob = await attempt(() => request("POST", "/api/export", { format, chart, style }, true))
  if (!blob) return
  const link = h("a", { href: URL.createObjectURL(blob), download: `chart.${format}` })
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
}

async function share() {
  try {
    await navigator.clipboard.writeText(location.href)
    tell("The address is copied. Whoever opens it must have opened this dashboard before.")
  } catch {
    tell(`The address: ${location.href}`)
  }
}
