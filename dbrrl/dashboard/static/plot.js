// Draws lines with uPlot: bands, two axes, logarithms, a legend that highlights, and hover with values.

/* global uPlot */
import { number } from "./dom.js"

// Okabe and Ito's palette, which colour-blind readers can distinguish, then nine colours far from it; black and white
// change places with the theme.
const COLORS = [
  "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "ink", "#0000FF",
  "#00DD00", "#FF00DD", "#440088", "#FF0066", "#555500", "#AACC44", "#661111", "#CCBB99",
]
const BRIGHT = { "#0072B2": "#4AA8E0", "#0000FF": "#8080FF", "#440088": "#B088FF", "#661111": "#E08080", "#555500": "#B8B840" }
const DASHES = [[], [6, 3], [8, 3, 2, 3], [2, 3]]

const WHOLE = [1, 2, 5].flatMap((first) => [0, 1, 2, 3, 4, 5, 6].map((zeros) => first * 10 ** zeros)).sort((a, b) => a - b)

const dark = () => document.documentElement.dataset.theme === "dark"
const ink = () => (dark() ? "#e6e6e6" : "#1c1c1c")

function color(index) {
  const chosen = COLORS[index % COLORS.length]
  if (chosen === "ink") return ink()
  return dark() ? BRIGHT[chosen] || chosen : chosen
}

/** Colour the swatches below an element; by script, as the page allows no styles in HTML. */
export function paint(element) {
  for (const swatch of element.querySelectorAll(".swatch")) {
    swatch.style.backgroundColor = color(Number(swatch.dataset.index))
  }
}

function dash(index) {
  return DASHES[Math.floor(index / COLORS.length) % DASHES.length]
}

/**
 * A chart in `holder`. Lines have label, y, places, values, low and high; options: right (statistics on the right axis),
 * xLabel, yLabel, rightLabel, logX, logY, xRange, yRange, rightRange, height, onRange(minimum, maximum), onHover(index),
 * onReset(), for a double click, mark(), a place at which a vertical line is drawn, onPick(place), for a click, and whole,
 * whether places are whole numbers. A range is [from, to], null where it is open.
 * Returns { update(lines, options), redraw(), highlight(index), destroy() }.
 */
export function plot(holder) {
  let drawn = null
  let latest = null

  const draw = () => {
    if (drawn) drawn.destroy()
    drawn = null
    if (!latest || !latest.lines.length) return
    drawn = new uPlot(settings(latest, holder), tables(latest.lines), holder)
  }
  /** What has to be the same for new numbers to be drawn in the same chart, so that nobody is disturbed who points at it. */
  const frame = ({ lines, options }) => JSON.stringify([options,
    lines.map((line) => [line.label, line.y, line.low.length > 0, line.values.length < 40])])
  const resize = new ResizeObserver(() => {
    if (drawn && Math.abs(drawn.width - holder.clientWidth) > 1) {
      drawn.setSize({ width: holder.clientWidth, height: drawn.height })
    }
  })
  resize.observe(holder)
  addEventListener("themechange", draw)

  return {
    update(lines, options = {}) {
      const before = drawn && latest && frame(latest)
      if (!latest) latest = {}
      Object.assign(latest, { lines, options })
      if (before === frame(latest)) drawn.setData(tables(lines))
      else draw()
    },
    redraw() { if (drawn) drawn.redraw(false) },
    highlight(index) { if (drawn) drawn.setSeries(index === null ? null : index * 3 + 1, { focus: true }) },
    destroy() {
      resize.disconnect()
      removeEventListener("themechange", draw)
      if (drawn) drawn.destroy()
    },
  }
}

/** uPlot wants one list of places for all lines: the union, with a gap where a line has no point. */
function tables(lines) {
  const every = lines.map((line) => [
    [line.places, line.values], [line.places, line.low.length ? line.low : line.values.map(() => null)],
    [line.places, line.high.length ? line.high : line.values.map(() => null)],
  ])
  return uPlot.join(every.flat().map(([places, values]) => [places, values]),
    every.flat().map(([, values]) => values.map(() => 2)))
}

/** `latest`: the lines and options, which may be replaced by others of the same frame. */
function settings(latest, holder) {
  const { lines, options } = latest
  const right = new Set(options.right || [])
  const axis = { stroke: ink(), grid: { stroke: dark() ? "#333a" : "#ccca" }, ticks: { stroke: dark() ? "#555" : "#bbb" } }
  const scale = (line) => (right.has(line.y) ? "right" : "y")
  const series = lines.flatMap((line, index) => [
    {
      label: line.label, scale: scale(line), stroke: color(index), dash: dash(index), width: 2, spanGaps: true,
      points: { show: line.values.length < 40, size: 5 }, value: (_, value) => number(value),
    },
    { scale: scale(line), stroke: "transparent", width: 0, spanGaps: true, points: { show: false } },
    { scale: scale(line), stroke: "transparent", width: 0, spanGaps: true, points: { show: false } },
  ])
  const bands = lines.flatMap((line, index) => (line.low.length
    ? [{ series: [index * 3 + 3, index * 3 + 2], fill: transparent(color(index)) }] : []))
  const axes = [
    { ...axis, incrs: options.whole ? WHOLE : undefined, label: options.xLabel, values: (_, values) => values.map(short) },
    { ...axis, scale: "y", label: options.yLabel, size: 70, values: (_, values) => values.map(short) },
  ]
  if (lines.some((line) => right.has(line.y))) {
    axes.push({ ...axis, scale: "right", side: 1, label: options.rightLabel, size: 70, grid: { show: false },
      values: (_, values) => values.map(short) })
  }
  return {
    width: Math.max(holder.clientWidth, 200),
    height: options.height || 420,
    series: [{ label: options.xLabel, value: (_, value) => number(value) }, ...series],
    bands,
    axes,
    scales: {
      x: { time: false, distr: options.logX ? 3 : 1, range: range(options.xRange, options.logX) },
      y: { distr: options.logY ? 3 : 1, range: range(options.yRange, options.logY) },
      right: { distr: 1, range: range(options.rightRange) },
    },
    legend: { show: false },
    focus: { alpha: 0.25 },
    cursor: { focus: { prox: 24 }, drag: { x: true, y: false } },
    hooks: {
      ready: [(chart) => chart.over.addEventListener("dblclick", () => latest.options.onReset && latest.options.onReset()),
        (chart) => options.onPick && chart.over.addEventListener("click", () =>
        latest.options.onPick(chart.posToVal(chart.cursor.left, "x")))],
      draw: [(chart) => latest.options.mark && drawMark(chart, latest.options.mark())],
      setCursor: [(chart) => latest.options.onHover && latest.options.onHover(hovered(chart, latest.lines))],
      setSelect: [(chart) => {
        if (!latest.options.onRange || chart.select.width < 4) return
        const from = chart.posToVal(chart.select.left, "x")
        latest.options.onRange(from, chart.posToVal(chart.select.left + chart.select.width, "x"))
      }],
    },
  }
}

/** A range as uPlot takes it, where an open end is that of the numbers; a logarithm has no end at 0 or below. */
function range(given, logarithmic) {
  const [from, to] = (given || [null, null]).map((end) => (end === null || (logarithmic && end <= 0) ? null : end))
  if (from === null && to === null) return undefined
  return (chart, low, high) => {
    const ends = [from ?? low, to ?? high]
    return ends[0] < ends[1] ? ends : [low, high]
  }
}

function drawMark(chart, place) {
  const { ctx, bbox } = chart
  const left = Math.round(chart.valToPos(place, "x", true)) + 0.5
  ctx.save()
  ctx.strokeStyle = ink()
  ctx.lineWidth = devicePixelRatio
  ctx.beginPath()
  ctx.moveTo(left, bbox.top)
  ctx.lineTo(left, bbox.top + bbox.height)
  ctx.stroke()
  ctx.restore()
}

/** The place under the pointer, and each line's nearest value to it. */
function hovered(chart, lines) {
  const { left } = chart.cursor
  if (left === undefined || left < 0) return null
  const place = chart.posToVal(left, "x")
  return { place, values: lines.map((line) => nearest(line, place)) }
}

function nearest(line, place) {
  const { places } = line
  if (!places.length || place < places[0] || place > places[places.length - 1]) return null
  let low = 0
  let high = places.length - 1
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if (places[middle] <= place) low = middle
    else high = middle
  }
  const index = Math.abs(places[low] - place) <= Math.abs(places[high] - place) ? low : high
  const band = line.low.length ? [line.low[index], line.high[index]] : null
  return { place: places[index], value: line.values[index], band }
}

function transparent(text) {
  return `${text}26`
}

function short(value) {
  if (value === null || value === undefined) return ""
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) >= size) return `${+(value / size).toPrecision(4)}${unit}`
  }
  return String(+value.toPrecision(4))
}
