// The Coin page's controls around the chart.
(() => {
  const cv = window.cv
  const t = cv.t
  const place = document.querySelector(".cv-chart-place")
  const state = document.querySelector(".cv-chart-state")
  const legend = document.querySelector(".cv-legend")
  const note = cv.make("div", "cv-overlay-legend")
  place.after(note)
  place.hidden = true
  let chart = null
  let shown = null // key of the candles on screen
  let waiting = Promise.resolve()

  const say = (row, currency, traded, gap) => {
    if (gap) { legend.replaceChildren(...[cv.time(gap, {dateStyle: "short", timeStyle: "short"}), t(traded ? "no_trades" : "no_ticks")].map(word => cv.make("span", "", word))); return }
    if (!row) { legend.textContent = ""; return }
    const [start, open, high, low, close, volume, ticks, marks] = row
    const words = [["open", open], ["high", high], ["low", low], ["close", close]].map(([name, value]) => `${t(name)} ${cv.price(value, currency)}`)
    const marked = [marks & 1 ? t("mark_fallback") : "", marks & 2 ? t("mark_disagrees") : "", marks & 4 ? t("mark_missing") : "", marks & 8 ? t("mark_halted") : ""].filter(Boolean)
    const rest = [cv.time(start, {dateStyle: "short", timeStyle: "short"}), ...words, traded ? `${t("volume_traded")} ${cv.compact(volume)}` : `${t("volume_24h")} ${cv.compact(volume, currency)}`, `${cv.count(ticks)} ${traded ? t("trades_count") : t("ticks").toLowerCase()}`, ...marked]
    legend.replaceChildren(...rest.map((word, index) => cv.make("span", index > 4 ? "cv-wide-only" : "", word)))
  }
  const make = async () => {
    chart ??= await cv.candleChart(place, {legend: say, older: () => cv.send("coin", "older")})
    cv.drawnChart = chart.drawn
    return chart
  }
  const currencies = cv.make("select", "cv-currency", undefined, {"aria-label": t("currency"), "data-act": "currency"})
  currencies.hidden = true
  document.querySelector(".cv-now").after(currencies)

  const venues = cv.make("select", "cv-venue", undefined, {"aria-label": t("venue"), "data-act": "venue"})
  venues.hidden = true
  currencies.after(venues)
  cv.part("chart.venues", ({all, shown}) => {
    venues.hidden = !all.length
    const names = String(all)
    if (venues.dataset.names !== names) venues.replaceChildren(...all.map(([name, words]) => cv.make("option", "", words, {value: name})))
    venues.dataset.names = names
    if (document.activeElement !== venues) venues.value = shown
  })

  // In order: a tail must not overtake the candles that it changes.
  const inOrder = work => { waiting = waiting.then(work).catch(error => console.error("chart", error)) }
  cv.part("chart", content => inOrder(async () => {
    const whole = content.columns !== undefined
    if (!whole && content.key !== shown) return
    const any = whole ? content.columns[0].length > 0 : true
    state.hidden = any
    place.hidden = !any
    if (!any) { shown = content.key; return }
    const drawn = await make()
    if (!whole) return drawn.change(content)
    const moved = content.key !== shown
    shown = content.key
    drawn.whole(content, moved)
  }))
  cv.part("chart.marks", ({key, marks}) => inOrder(async () => { if (key === shown) chart?.marked(marks) }))
  cv.part("chart.currencies", ({all, shown}) => {
    currencies.hidden = all.length < 2
    currencies.replaceChildren(...all.map(name => cv.make("option", "", name, {value: name})))
    currencies.value = shown
  })
  cv.part("chart.other", found => inOrder(async () => chart?.compare(found)))
  cv.part("chart.overlay", found => inOrder(async () => {
    const names = chart?.overlay(found) ?? []
    const key = ([name, paint]) => { const one = cv.make("span", "cv-provider-key", name); one.style.setProperty("--key", paint); return one }
    const words = found ? [
      ...(found.missing.length ? [`${t("overlay_missing")}: ${found.missing.join(", ")}`] : []),
      ...(found.since === null ? [] : [`${t("overlay_since")} ${cv.time(found.since, {dateStyle: "short", timeStyle: "short"})}`]),
    ] : []
    note.replaceChildren(...(found ? [cv.make("span", "", `${t("consensus")} ···`), ...names.map(key), ...words.map(one => cv.make("span", "cv-note", one))] : []))
  }))

  const pressed = (button, on) => button.setAttribute("aria-pressed", on)
  const intervals = [...document.querySelectorAll("[data-tf]")]
  const showInterval = () => intervals.forEach(button => pressed(button, button.dataset.tf === cv.link.tf))
  for (const button of intervals) button.addEventListener("click", () => cv.choose({tf: button.dataset.tf}))
  document.addEventListener("cv-chosen", showInterval)
  showInterval()
  document.querySelector(".cv-now").addEventListener("click", () => chart?.toNow())
  for (const button of document.querySelectorAll("[data-chart]")) button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true"
    pressed(button, on)
    const what = button.dataset.chart
    if (what === "consensus") cv.send("coin", "overlay", {on: String(on)})
    else chart?.[what](on)
  })
  const compare = document.querySelector(".cv-compare")
  const fill = others => {
    const chosen = compare.value
    const wanted = [["", t("compare_none")], ...others]
    compare.replaceChildren(...wanted.map(([value, words]) => cv.make("option", "", words, {value})))
    compare.value = wanted.some(([value]) => value === chosen) ? chosen : ""
  }
  compare.addEventListener("change", () => cv.send("coin", "compare", {coin: compare.value}))
  fill([])
  cv.part("chart.others", fill)
  cv.part("chart.other.price", price => chart?.otherPrice(...price))
  cv.part("history.range", name => {
    for (const button of document.querySelectorAll(".cv-ranges button")) pressed(button, button.dataset.value === name)
  })
  ;["1m", "5m", "1h", "1d"].forEach((tf, index) => cv.keys.set(String(index + 1), ["help_interval", () => cv.choose({tf})]))
  cv.keys.set("n", ["help_now", () => chart?.toNow()])
  cv.start()
})()
