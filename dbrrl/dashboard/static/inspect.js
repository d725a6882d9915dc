// The inspector: an episode of an agent, step by step, beside what the agent says at each; two agents on one seed.

import { attempt, request } from "./api.js"
import { h, number, show, tell } from "./dom.js"
import { panel } from "./panel.js"
import { paint, plot } from "./plot.js"

const SPEEDS = [["0.25", "¼ speed"], ["1", "normal"], ["4", "4 times"]]
const USUAL = ["value", "entropy", "reward"]
const SMALL = /^(entropy|reward|probability \d+)$/ // drawn on the right axis, beside larger numbers
const MOST = 30 // lines of an agent

export function inspectPage(page, id) {
  const query = new URLSearchParams(location.search)
  const state = { step: 0, playing: null, speed: "1", saliency: query.get("saliency") === "1", seed: seedText(query.get("seed") || "") || "",
    files: [query.get("file") || "", query.get("other") || ""], episodes: [null, null], busy: false,
    y: query.has("y") ? query.get("y").split(",").filter(Boolean) : USUAL }
  let detail = null
  const head = h("div")
  const controls = h("div", { class: "controls" })
  const stage = h("div", { class: "stages" })
  const scrub = h("div", { class: "scrub" })
  const holder = h("div", { class: "plot", role: "img", "aria-label": "The episode over its steps" })
  const legend = h("div", { class: "legend" })
  const choice = h("div", { class: "controls" })
  page.append(head, controls, stage, scrub, choice, holder, legend)
  const chart = plot(holder)

  const length = () => Math.max(0, ...state.episodes.map((episode) => (episode ? episode.length : 0)))
  let left = false
  const address = () => {
    if (left) return
    const found = new URLSearchParams()
    if (state.files[0]) found.set("file", state.files[0])
    if (state.files[1]) found.set("other", state.files[1])
    if (state.seed) found.set("seed", state.seed)
    if (state.saliency) found.set("saliency", "1")
    if (state.y.join() !== USUAL.join()) found.set("y", state.y.join(","))
    history.replaceState(null, "", `/inspect/${id}?${found}`)
  }
  const playEpisode = async (which, changes = []) => {
    const file = state.files[which]
    if (!file) { state.episodes[which] = null; return false }
    const body = { file, saliency: state.saliency, changes }
    if (state.seed !== "") body.seed = Number(state.seed)
    const made = await attempt(() => request("POST", `/api/runs/${id}/episodes`, body))
    if (made) state.episodes[which] = { ...made, changes, series: await series(made) } // else the one before stays
    return made !== null
  }
  const series = async (made) => {
    const names = state.y.filter((name) => made.statistics.includes(name)).slice(0, MOST)
    if (!names.length) return {}
    const path = `/api/episodes/${made.id}/series?names=${encodeURIComponent(names.join(","))}`
    const found = await attempt(() => request("GET", path))
    return found ? found.series : {}
  }
  const toggle = async (name) => {
    state.y = state.y.includes(name) ? state.y.filter((one) => one !== name) : [...state.y, name]
    address()
    for (const episode of state.episodes) if (episode) episode.series = await series(episode)
    drawChart()
  }
  let again = false
  /** Play the episodes; what is asked for meanwhile is played after it. */
  const playAll = async () => {
    stop()
    address()
    again = true
    if (state.busy) return
    state.busy = true
    while (again && !left) {
      again = false
      draw()
      await playEpisode(0)
      await playEpisode(1)
    }
    state.busy = false
    state.step = 0
    draw()
  }
  const go = (step) => {
    state.step = Math.max(0, Math.min(length() - 1, step))
    drawStage()
    drawScrub()
    chart.redraw()
  }
  const stop = () => { clearInterval(state.playing); state.playing = null }
  const play = () => {
    if (state.playing) { stop(); drawScrub(); return }
    if (state.step >= length() - 1) state.step = 0
    state.playing = setInterval(() => {
      if (state.step >= length() - 1) { stop(); drawScrub() } else go(state.step + 1)
    }, 1000 / (30 * Number(state.speed)))
    drawScrub()
  }
  const act = async (which, action) => {
    if (state.busy) return
    const episode = state.episodes[which]
    const before = episode.changes.filter((change) => change.step < state.step)
    state.busy = true
    drawControls()
    const kept = state.step
    const made = await playEpisode(which, [...before, { step: kept, action }])
    state.busy = false
    if (made) { state.step = kept; draw() } else drawControls()
    if (again) playAll()
  }

  const draw = () => { drawHead(); drawControls(); drawStage(); drawScrub(); drawChart() }
  const drawHead = () => show(head, h("p", { class: "hint" }, h("a", { href: "/" }, "Runs"), " / ",
    h("a", { href: `/run/${id}` }, detail.run.name), " / inspector"), h("h1", {}, `Inspector: ${detail.title}`))
  const choose = (which, title, none) => h("label", {}, `${title} `, h("select", { "data-key": `file ${which}`,
    onchange: (event) => { state.files[which] = event.target.value; playAll() } },
  none && h("option", { value: "" }, "none"),
  detail.files.filter((file) => file.kind === "checkpoint").map((file) => h("option", {
    value: file.path, selected: file.path === state.files[which] }, file.path))))
  const drawControls = () => show(controls,
    choose(0, "Agent"), choose(1, "compared with", true),
    h("label", {}, "seed ", h("input", { type: "number", min: "0", "data-key": "seed", value: state.seed,
      placeholder: "run's own", onchange: (event) => {
        const seed = seedText(event.target.value)
        if (seed === null) tell("A seed is a whole number from 0 to 9,007,199,254,740,991.", true)
        else { state.seed = seed; playAll() }
        event.target.value = state.seed
      } })),
    h("label", {}, h("input", { type: "checkbox", "data-key": "saliency", checked: state.saliency,
      onchange: (event) => { state.saliency = event.target.checked; playAll() } }),
    " gradient with respect to the observation"),
    h("button", { type: "button", "data-key": "again", disabled: state.busy, onclick: playAll }, "Play again"),
    state.busy && h("span", { class: "hint", role: "status" }, "An episode is being played …"))
  const button = h("button", { type: "button", onclick: () => play() })
  const slider = h("input", { type: "range", min: "0", "aria-label": "Step of the episode",
    oninput: () => go(Number(slider.value)) })
  const place = h("output")
  show(scrub, button,
    h("button", { type: "button", "aria-label": "One step back", onclick: () => go(state.step - 1) }, "‹"),
    h("button", { type: "button", "aria-label": "One step on", onclick: () => go(state.step + 1) }, "›"), slider, place,
    h("select", { "aria-label": "Speed", onchange: (event) => {
      state.speed = event.target.value
      if (state.playing) { stop(); play() }
    } }, SPEEDS.map(([value, text]) => h("option", { value, selected: value === state.speed }, text))))
  /** Tell the step; the bar itself stays, so that it can be pressed and dragged while an episode is played. */
  const drawScrub = () => {
    scrub.hidden = !length()
    button.textContent = state.playing ? "❚❚" : "▶"
    button.setAttribute("aria-label", state.playing ? "Pause" : "Play")
    slider.max = String(Math.max(0, length() - 1))
    slider.value = String(state.step)
    place.textContent = `step ${number(state.step)} of ${number(length() - 1)}`
  }
  let wanted = 0
  let drawing = false
  /** Draw the step, its pictures loaded before; calls meanwhile are answered by drawing once more. */
  const drawStage = async () => {
    wanted += 1
    if (drawing) return
    drawing = true
    for (let drawn = 0; drawn !== wanted;) {
      drawn = wanted
      const parts = await Promise.all(state.episodes.map(drawPanel))
      const pictures = parts.flatMap((part) => (part ? [...part.querySelectorAll("img")] : []))
      await Promise.all(pictures.map((picture) => picture.decode().catch(() => null)))
      show(stage, parts)
    }
    drawing = false
  }
  const drawPanel = async (episode, which) => {
    if (!episode) return null
    const at = Math.min(state.step, episode.length - 1)
    const moment = await attempt(() => request("GET", `/api/episodes/${episode.id}/step?step=${at}`))
    return moment && panel(episode, moment, at, (action) => act(which, action), state.episodes[1])
  }
  const drawChart = () => {
    const names = [...new Set(state.episodes.flatMap((episode) => (episode ? episode.statistics : [])))]
    const lines = state.episodes.flatMap((episode, which) => (episode ? curves(episode, which, state) : []))
    const drawn = [...new Set(lines.map((line) => line.y))]
    const left = drawn.filter((name) => !SMALL.test(name))
    const right = left.length ? drawn.filter((name) => SMALL.test(name)) : []
    const title = (of) => [...new Set(of.map((name) => name.replace(/ \d+$/, "")))].join(", ")
    chart.update(lines, { xLabel: "step of the episode", yLabel: title(left.length ? left : drawn), right,
      rightLabel: title(right), height: 240, whole: true, mark: () => state.step,
      onPick: (place) => go(Math.round(place)) })
    show(choice, names.length > 0 && h("details", { class: "menu", "data-key": "menu" },
      h("summary", { "data-key": "statistics" }, `Over the episode: ${drawn.join(", ") || "nothing"}`),
      h("div", { class: "choices" }, names.map((name) => h("label", { class: "choice" }, h("span", {}, h("input", {
        type: "checkbox", "data-key": `y ${name}`, checked: state.y.includes(name), onchange: () => toggle(name) }),
      ` ${name}`))))))
    show(legend, lines.map((line, index) => h("span", { class: "series" },
      h("span", { class: "swatch", "data-index": String(index) }), line.label)))
    paint(legend)
  }
  const keys = (event) => {
    const { tagName } = event.target
    if (["INPUT", "SELECT", "TEXTAREA"].includes(tagName)) return // which have uses of their own for these keys
    if (event.key === "ArrowRight") go(state.step + 1)
    else if (event.key === "ArrowLeft") go(state.step - 1)
    else if (event.key === " " && tagName !== "BUTTON" && tagName !== "SUMMARY") { event.preventDefault(); play() }
  }
  const begin = async () => {
    detail = await attempt(() => request("GET", `/api/runs/${id}`))
    if (!detail) {
      show(head, h("h1", {}, "No such run"), h("p", {}, h("a", { href: "/" }, "All runs")))
      return
    }
    const agents = detail.files.filter((file) => file.kind === "checkpoint").map((file) => file.path)
    if (!agents.length) {
      show(head, h("h1", {}, `Inspector: ${detail.title}`), h("p", { class: "hint" }, "The run has saved no agent yet."))
      return
    }
    const usual = agents.find((path) => path.startsWith("final/")) || agents.find((path) => path.startsWith("checkpoints/"))
    if (!agents.includes(state.files[0])) state.files[0] = usual || agents[0]
    if (!agents.includes(state.files[1])) state.files[1] = ""
    await playAll()
  }
  begin()
  const retheme = () => paint(legend)
  addEventListener("themechange", retheme)
  addEventListener("keydown", keys)
  return () => { left = true; stop(); removeEventListener("themechange", retheme); removeEventListener("keydown", keys); chart.destroy() }
}

/** The text of a seed, "" for the run's own; null if it is none. */
function seedText(text) {
  return text === "" || (/^\d+$/.test(text) && Number.isSafeInteger(Number(text))) ? text : null
}

/** The chosen statistics of an episode as lines of the chart. */
function curves(episode, which, state) {
  const name = state.episodes[1] ? ` (${which ? "compared" : "agent"})` : ""
  return Object.entries(episode.series).map(([y, values]) => {
    const known = values.map((value, index) => [index, value]).filter(([, value]) => value !== null)
    return { label: `${y}${name}`, y, places: known.map(([index]) => index), values: known.map(([, value]) => value),
      low: [], high: [] }
  }).filter((one) => one.places.length)
}
