// The inspector: an episode of an agent, step by step, beside what the agent says at each; two agents on one seed.

import { attempt, request } from "./api.js"
import { h, number, show } from "./dom.js"
import { paint, plot } from "./plot.js"

const SPEEDS = [["0.25", "¼ speed"], ["1", "normal"], ["4", "4 times"]]

export function inspectPage(page, id) {
  const query = new URLSearchParams(location.search)
  const state = { step: 0, playing: null, speed: "1", saliency: query.get("saliency") === "1", seed: query.get("seed") || "",
    files: [query.get("file") || "", query.get("other") || ""], episodes: [null, null], busy: false }
  let detail = null
  const head = h("div")
  const controls = h("div", { class: "controls" })
  const stage = h("div", { class: "stages" })
  const scrub = h("div", { class: "scrub" })
  const holder = h("div", { class: "plot", role: "img", "aria-label": "The episode over its steps" })
  const legend = h("div", { class: "legend" })
  page.append(head, controls, stage, scrub, holder, legend)
  const chart = plot(holder)

  const length = () => Math.max(0, ...state.episodes.map((episode) => (episode ? episode.length : 0)))
  const address = () => {
    const found = new URLSearchParams()
    if (state.files[0]) found.set("file", state.files[0])
    if (state.files[1]) found.set("other", state.files[1])
    if (state.seed) found.set("seed", state.seed)
    if (state.saliency) found.set("saliency", "1")
    history.replaceState(null, "", `/inspect/${id}?${found}`)
  }
  const playEpisode = async (which, changes = []) => {
    const file = state.files[which]
    state.episodes[which] = null
    if (!file) return
    const body = { file, saliency: state.saliency, changes }
    if (state.seed !== "") body.seed = Number(state.seed) | 0
    const made = await attempt(() => request("POST", `/api/runs/${id}/episodes`, body))
    state.episodes[which] = made && { ...made, changes }
  }
  const playAll = async () => {
    stop()
    address()
    state.busy = true
    draw()
    await playEpisode(0)
    await playEpisode(1)
    state.busy = false
    state.step = 0
    draw()
  }
  const go = (step) => {
    state.step = Math.max(0, Math.min(length() - 1, step))
    drawStage()
    drawScrub()
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
    const episode = state.episodes[which]
    const before = episode.changes.filter((change) => change.step < state.step)
    state.busy = true
    draw()
    const kept = state.step
    await playEpisode(which, [...before, { step: kept, action }])
    state.busy = false
    state.step = kept
    draw()
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
      placeholder: "the run's", onchange: (event) => { state.seed = event.target.value; playAll() } })),
    h("label", {}, h("input", { type: "checkbox", "data-key": "saliency", checked: state.saliency,
      onchange: (event) => { state.saliency = event.target.checked; playAll() } }),
    " gradient with respect to the observation"),
    h("button", { type: "button", "data-key": "again", disabled: state.busy, onclick: playAll }, "Play again"),
    state.busy && h("span", { class: "hint", role: "status" }, "An episode is being played …"))
  const drawScrub = () => show(scrub, length() > 0 && [
    h("button", { type: "button", "data-key": "play", "aria-label": state.playing ? "Pause" : "Play", onclick: play },
      state.playing ? "❚❚" : "▶"),
    h("button", { type: "button", "data-key": "back", "aria-label": "One step back", onclick: () => go(state.step - 1) },
      "‹"),
    h("button", { type: "button", "data-key": "on", "aria-label": "One step on", onclick: () => go(state.step + 1) }, "›"),
    h("input", { type: "range", min: "0", max: String(length() - 1), value: String(state.step), "data-key": "slider",
      "aria-label": "Step of the episode", oninput: (event) => go(Number(event.target.value)) }),
    h("output", {}, `step ${number(state.step)} of ${number(length() - 1)}`),
    h("select", { "aria-label": "Speed", "data-key": "speed", onchange: (event) => {
      state.speed = event.target.value
      if (state.playing) { stop(); play() }
    } }, SPEEDS.map(([value, text]) => h("option", { value, selected: value === state.speed }, text))),
  ])
  const drawStage = async () => {
    const { step } = state
    const parts = await Promise.all(state.episodes.map(async (episode, which) => {
      if (!episode) return null
      const at = Math.min(step, episode.length - 1)
      const moment = await attempt(() => request("GET", `/api/episodes/${episode.id}/step?step=${at}`))
      return moment && panel(episode, moment, at, (action) => act(which, action), state)
    }))
    if (step === state.step) show(stage, parts)
  }
  const drawChart = () => {
    const lines = state.episodes.flatMap((episode, which) => (episode ? series(episode, which, state) : []))
    chart.update(lines, { xLabel: "step of the episode", yLabel: "value, entropy", right: ["reward"],
      rightLabel: "reward", height: 240 })
    show(legend, lines.map((line, index) => h("span", { class: "series" },
      h("span", { class: "swatch", "data-index": String(index) }), line.label)))
    paint(legend)
  }
  const keys = (event) => {
    if (["INPUT", "SELECT", "TEXTAREA", "BUTTON"].includes(event.target.tagName)) return
    if (event.key === "ArrowRight") go(state.step + 1)
    else if (event.key === "ArrowLeft") go(state.step - 1)
    else if (event.key === " ") { event.preventDefault(); play() }
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
  addEventListener("keydown", keys)
  return () => { stop(); removeEventListener("keydown", keys); chart.destroy() }
}

function series(episode, which, state) {
  const name = state.episodes[1] ? ` (${which ? "compared" : "agent"})` : ""
  const line = (y, values) => {
    const known = values.map((value, index) => [index, value]).filter(([, value]) => value !== null)
    return { label: `${y}${name}`, y, places: known.map(([index]) => index), values: known.map(([, value]) => value),
      low: [], high: [] }
  }
  return [line("value", episode.values), line("entropy", episode.entropies), line("reward", episode.rewards)]
    .filter((one) => one.places.length)
}

function panel(episode, moment, at, act, state) {
  return h("section", { class: "stage", "aria-label": episode.file },
    state.episodes[1] && h("h2", {}, episode.file),
    h("div", { class: "views" },
      episode.problem ? h("p", { class: "hint" }, episode.problem)
        : h("img", { class: "frame", src: `/api/episodes/${episode.id}/frame?step=${at}`, alt: `The environment at step ${at}` }),
      moment.picture && h("img", { class: "seen", alt: "The observation",
        src: `/api/episodes/${episode.id}/image?step=${at}${moment.salient ? "&saliency=true" : ""}` })),
    h("div", { class: "told" }, h("dl", { class: "facts" }, [
      ["reward", number(moment.reward)], ["return", number(episode.rewards.slice(0, at + 1).reduce((a, b) => a + b, 0))],
      ["value", number(moment.value)], ["entropy", number(moment.entropy)],
      ["action", action(moment.action) + (moment.changed ? " (by hand)" : "")],
      ["whole episode", `${number(episode.total)} in ${number(episode.length)} steps, ${episode.ended}`],
    ].map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text)))),
    h("div", { class: "said" }, policy(moment), bars("Q", moment.q, moment.action), returns(moment),
      observation(moment), byHand(episode, moment, act))))
}

function action(value) {
  return Array.isArray(value) ? `(${value.map(number).join(", ")})` : number(value)
}

function policy({ policy: found, action: chosen }) {
  if (!found) return null
  if (found.kind === "choices") return bars("Probability", found.probs, chosen)
  if (found.kind !== "normal") return null
  return h("table", {}, h("caption", {}, "Policy"), h("thead", {}, h("tr", {}, ["", "mean", "deviation"].map((name) =>
    h("th", { scope: "col" }, name)))), h("tbody", {}, found.mean.map((mean, index) => h("tr", {},
    h("th", { scope: "row" }, String(index)), h("td", { class: "number" }, number(mean)),
    h("td", { class: "number" }, number(found.std[index]))))))
}

/** A bar for each number, the chosen one marked; widths are set by script, as the page allows no styles in HTML. */
function bars(title, values, chosen) {
  if (!values || values.length > 200) return null
  const known = values.filter((value) => value !== null)
  const low = Math.min(0, ...known)
  const high = title === "Probability" ? 1 : Math.max(...known, low + 1e-12)
  return h("table", { class: "bars" }, h("caption", {}, title), h("tbody", {}, values.map((value, index) => {
    const bar = h("span", { class: "bar-fill" })
    bar.style.width = value === null ? "0" : `${(100 * (value - low)) / (high - low)}%`
    return h("tr", { class: index === chosen ? "chosen" : "" }, h("th", { scope: "row" }, String(index)),
      h("td", { class: "wide" }, bar), h("td", { class: "number" }, value === null ? "not allowed" : number(value)))
  })))
}

function returns({ returns: found, action: chosen }) {
  if (!found) return null
  const values = found.values[chosen]
  const probs = found.probs[chosen]
  if (!values) return null
  const low = Math.min(...found.values.flat())
  const high = Math.max(...found.values.flat(), low + 1e-9)
  const bins = new Array(40).fill(0)
  values.forEach((value, index) => {
    bins[Math.min(39, Math.floor((40 * (value - low)) / (high - low)))] += probs[index]
  })
  const most = Math.max(...bins)
  return h("figure", { class: "histogram", role: "img", "aria-label": `Distribution of the return of action ${chosen}` },
    h("div", { class: "bins" }, bins.map((share) => {
      const bin = h("span")
      bin.style.height = `${(100 * share) / most}%`
      return bin
    })), h("figcaption", {}, `return of action ${chosen}: ${number(low)} to ${number(high)}`))
}

function observation({ observation: values, gradient }) {
  if (!values.length || values.length > 200) return null
  const most = Math.max(...gradient.map(Math.abs), 1e-12)
  return h("table", { class: "bars" }, h("caption", {}, gradient.length ? "Observation, and the gradient" : "Observation"),
    h("tbody", {}, values.map((value, index) => {
      const bar = h("span", { class: "bar-fill heat" })
      if (gradient.length) bar.style.width = `${(100 * Math.abs(gradient[index])) / most}%`
      return h("tr", {}, h("th", { scope: "row" }, String(index)), h("td", { class: "number" }, number(value)),
        gradient.length > 0 && h("td", { class: "wide" }, bar),
        gradient.length > 0 && h("td", { class: "number" }, number(gradient[index])))
    })))
}

function byHand(episode, moment, act) {
  if (episode.actions) {
    return h("div", { class: "hand" }, h("span", {}, "Another action here: "),
      Array.from({ length: Math.min(episode.actions, 50) }, (_, index) => h("button", { type: "button",
        "data-key": `act ${index}`, onclick: () => act(index) }, String(index))))
  }
  const given = Array.isArray(moment.action) ? moment.action.join(", ") : String(moment.action)
  const field = h("input", { type: "text", value: given, "aria-label": "Another action, numbers with commas between" })
  const submit = (event) => {
    event.preventDefault()
    const numbers = field.value.split(",").map(Number)
    if (numbers.every(Number.isFinite)) act(numbers)
  }
  return h("form", { class: "hand", onsubmit: submit }, h("label", {}, "Another action here ", field),
    h("button", { type: "submit" }, "Go on from it"))
}
