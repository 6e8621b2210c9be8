// The Markets page: rows of all coins, sorted, filtered and formatted here.
(() => {
  const cv = window.cv
  const t = cv.t
  const coins = new Map() // asset: row, as an object
  const sparks = new Map()
  let tickMs = 2000
  let search = ""
  let filter = "all"
  let watchedOnly = false
  const watched = new Set(cv.stored("watched", []))
  const ROW = 34
  const WEEK_H = 144 // hours with a close, of the 168: some may be missing

  const span = (cell, classes, words) => {
    const held = cell.firstElementChild ?? cell.appendChild(cv.make("span"))
    if (held.className !== classes) held.className = classes
    if (held.textContent !== words) held.textContent = words
    return held
  }
  const change = field => (cell, row) => span(cell, `cv-num cv-change cv-${cv.direction(row[field])}`, cv.percent(row[field]))
  const money = field => (cell, row) => span(cell, "cv-num", cv.compact(row[field], row.currency))
  const drawCoin = (cell, row) => {
    if (!cell.firstChild) {
      const star = cv.make("button", "cv-star", "", {type: "button"})
      star.addEventListener("click", () => watch(row.asset))
      cell.append(star, cv.make("span", "cv-symbol"), cv.make("span", "cv-name"), cv.make("span", "cv-badge cv-fallback cv-narrow", "F"))
    }
    const [star, symbol, name, mark] = cell.children
    const on = watched.has(row.asset)
    star.textContent = on ? "★" : "☆"
    star.setAttribute("aria-pressed", on)
    star.setAttribute("aria-label", `${t("watch")} ${row.name}`)
    symbol.textContent = row.symbol
    name.textContent = name.title = row.name
    mark.hidden = row.reason === null
    mark.title = row.reason ?? ""
  }
  const drawPrice = (cell, row, before) => {
    if (!cell.firstChild) cell.append(cv.make("button", "", undefined, {type: "button", "data-do": "trace", title: t("tip_trace"), tabindex: "-1"}))
    const held = span(cell, "cv-price cv-num", cv.price(row.price, row.currency))
    Object.assign(held.dataset, {asset: row.asset, price: String(row.price), tick: row.tick})
    if (before && before.currency === row.currency && before.price !== row.price) {
      held.classList.remove("cv-flash-up", "cv-flash-down")
      void held.offsetWidth // starts the animation again
      held.classList.add(row.price > before.price ? "cv-flash-up" : "cv-flash-down")
    }
  }
  // See views/market_rows.py: each point is a byte, its height between the lowest and the highest.
  const pointsOf = ([, first, lowest, highest, heights]) => {
    const points = Array.from(atob(heights), height => lowest + ((highest - lowest) * height.charCodeAt(0)) / 255)
    points[0] = first
    return points
  }
  const drawSpark = (cell, row) => {
    const spark = sparks.get(row.asset)
    const id = `${row.asset}:${spark}:${row.price}`
    if (cell.drawn === id) return
    cell.drawn = id
    const hours = spark?.[0] ?? 0
    const prices = spark ? [...pointsOf(spark), row.price] : []
    if (prices.length < 2) { cell.replaceChildren(cv.make("span", "cv-muted", "—")); return }
    const [W, H, M] = [112, 26, 2]
    const low = Math.min(...prices)
    const range = Math.max(...prices) - low || 1
    const path = prices.map((price, index) => `${(M + index * (W - 2 * M) / (prices.length - 1)).toFixed(1)},${(H - M - (price - low) / range * (H - 2 * M)).toFixed(1)}`).join(" ")
    const way = prices.at(-1) >= prices[0] ? "up" : "down"
    const part = hours < WEEK_H // not the week that the heading says
    const span = part ? (hours ? `${hours} ${t("spark_hours")}` : t("spark_ticks")) : t("col_spark")
    cell.title = part ? span : ""
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg")
    for (const [name, value] of Object.entries({class: `cv-spark cv-${way}${part ? " cv-spark-part" : ""}`, width: W, height: H, viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${span}: ${t(way === "up" ? "rising" : "falling")}`})) svg.setAttribute(name, value)
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline")
    for (const [name, value] of Object.entries({points: path, fill: "none", stroke: "currentColor", "stroke-width": "1.4", "stroke-linejoin": "round"})) line.setAttribute(name, value)
    svg.append(line)
    cell.replaceChildren(svg)
  }
  const drawSource = (cell, row) => {
    const held = span(cell, "cv-source-cell", cell.firstElementChild?.textContent ?? "")
    const id = `${row.provider} ${row.reason} ${row.sources}`
    if (held.dataset.drawn === id) return
    held.dataset.drawn = id
    held.replaceChildren(cv.make("span", "cv-source" + (row.reason === null ? "" : " cv-source-fallback"), row.provider))
    if (row.reason !== null) {
      const badge = cv.make("span", "cv-badge cv-fallback")
      badge.append(cv.make("span", "cv-hidden", `${t("fallback")}: `), row.reason)
      held.append(badge)
    }
    held.title = `${row.provider}, ${row.reason === null ? t("primary") : `${t("fallback")} (${row.reason})`}; ${row.sources} ${t("answered")}`
  }
  const drawSpread = (cell, row) => {
    const wide = row.disagrees || row.spread > 50
    span(cell, "cv-num" + (wide ? " cv-warn" : ""), cv.bps(row.spread)).title = row.disagrees ? t("providers_disagree") : ""
  }
  const drawAge = (cell, row) => {
    const age = cell.firstElementChild ?? cell.appendChild(cv.make("cv-age", "cv-age"))
    Object.assign(age.dataset, {live: 2 * tickMs, late: 5 * tickMs, tick: row.tick})
  }

  const known = value => typeof value === "number"
  const number = field => row => row[field]
  const COLUMNS = [
    {field: "rank", width: "34px", px: 34, classes: "cv-right", drop: 4, sort: number("rank"), draw: (cell, row) => span(cell, "cv-muted cv-num", row.rank ?? "—")},
    {field: "coin", width: "minmax(128px, 1.7fr)", px: 128, sort: row => row.symbol.toLowerCase(), draw: drawCoin, fixed: true},
    {field: "price", width: "minmax(94px, 1fr)", px: 94, classes: "cv-right", sort: number("price"), draw: drawPrice, fixed: true},
    {field: "change_1h", width: "minmax(78px, .8fr)", px: 78, classes: "cv-right", drop: 6, sort: number("change_1h"), draw: change("change_1h")},
    {field: "change_24h", width: "minmax(82px, .8fr)", px: 82, classes: "cv-right", sort: number("change_24h"), draw: change("change_24h")},
    {field: "change_7d", width: "minmax(82px, .8fr)", px: 82, classes: "cv-right", drop: 7, sort: number("change_7d"), draw: change("change_7d")},
    {field: "volume", width: "minmax(80px, .9fr)", px: 80, classes: "cv-right", drop: 9, sort: number("volume"), draw: money("volume")},
    {field: "market_cap", width: "minmax(84px, .9fr)", px: 84, classes: "cv-right", drop: 8, sort: number("market_cap"), draw: money("market_cap")},
    {field: "spark", width: "112px", px: 112, classes: "cv-center", drop: 5, draw: drawSpark},
    {field: "source", width: "minmax(96px, 1fr)", px: 96, drop: 3, sort: row => row.provider, draw: drawSource},
    {field: "spread", width: "minmax(50px, .5fr)", px: 50, classes: "cv-right", drop: 10, sort: number("spread"), draw: drawSpread},
    {field: "age", width: "minmax(52px, .6fr)", px: 52, classes: "cv-right", sort: row => -row.tick, draw: drawAge},
  ].map(column => ({...column, title: t(`col_${column.field}`), tip: t(`tip_${column.field}`)}))
  const hidden = new Set(cv.stored("hidden_columns", []))
  const place = document.querySelector(".cv-coin-table")
  // The columns that fit: those with the highest `drop` go first, those without stay.
  const visible = () => {
    let fitting = COLUMNS.filter(column => !hidden.has(column.field))
    const needed = () => fitting.reduce((sum, column) => sum + column.px, 28)
    while (needed() > place.clientWidth) {
      const last = Math.max(...fitting.map(column => column.drop ?? 0))
      if (!last) break
      fitting = fitting.filter(column => column.drop !== last)
    }
    return fitting
  }

  const table = cv.table({
    place,
    columns: visible(),
    key: row => row.asset,
    rowHeight: ROW,
    rowClasses: row => (row.asset === cv.link.coin ? "cv-chosen" : ""),
    chosen: coin => cv.choose({coin}),
  })
  const kept = cv.stored("sort", null)
  if (kept && COLUMNS.some(column => column.field === kept.field)) table.sort = kept
  table.onSort = sort => { cv.store("sort", sort); refresh() }

  const matches = row => {
    if (watchedOnly && !watched.has(row.asset)) return false
    if (filter === "rising" && cv.direction(row.change_24h) !== "up") return false
    if (filter === "falling" && cv.direction(row.change_24h) !== "down") return false
    if (filter === "fallbacks" && row.reason === null) return false
    return !search || [row.name, row.symbol, row.asset].some(text => text.toLowerCase().includes(search))
  }
  const compare = () => {
    const {field, down} = table.sort
    const value = COLUMNS.find(column => column.field === field)?.sort
    const rank = row => row.rank ?? 1e6
    const byRank = (one, other) => rank(one) - rank(other) || (one.asset < other.asset ? -1 : 1)
    if (!value) return byRank
    return (one, other) => {
      const [a, b] = [value(one), value(other)]
      const [hasA, hasB] = [a !== null && a !== undefined, b !== null && b !== undefined]
      if (hasA !== hasB) return hasA ? -1 : 1 // unknown values come last both ways
      if (!hasA || a === b) return byRank(one, other)
      return (a < b ? -1 : 1) * (down ? -1 : 1)
    }
  }
  const empty = cv.make("div", "cv-state cv-state-empty")
  empty.hidden = true
  document.querySelector(".cv-coin-table").after(empty)
  const heat = document.querySelector(".cv-heat")
  let shape = "table"
  let rows = []
  const refresh = () => {
    rows = [...coins.values()].filter(matches).sort(compare())
    document.querySelector(".cv-coin-count").textContent = rows.length === coins.size ? String(coins.size) : `${rows.length} ${t("of")} ${coins.size}`
    const none = rows.length === 0 && coins.size > 0
    empty.hidden = !none
    if (none) empty.replaceChildren(cv.make("b", "", t("no_match")), cv.make("span", "", search ? `“${search}”` : ""))
    document.querySelector(".cv-coin-table").hidden = shape !== "table" || rows.length === 0
    heat.hidden = shape !== "heat" || rows.length === 0
    shape === "table" ? table.show(rows) : drawHeat()
  }

  cv.part("coins", ({fields, rows: changed, whole, tick_ms}) => {
    tickMs = tick_ms
    if (whole) coins.clear()
    for (const values of changed) {
      const row = Object.fromEntries(fields.map((field, index) => [field, values[index]]))
      coins.set(row.asset, row)
    }
    refresh()
  })
  cv.part("sparks", found => {
    sparks.clear()
    for (const [asset, points] of Object.entries(found)) sparks.set(asset, points)
    for (const [asset, row] of coins) coins.set(asset, {...row}) // drawn again
    refresh()
  })

  // Another tab may have changed the list.
  const readWatched = () => {
    const kept = cv.stored("watched", [...watched])
    watched.clear()
    for (const coin of kept) watched.add(coin)
  }
  const watch = coin => {
    readWatched()
    watched.has(coin) ? watched.delete(coin) : watched.add(coin)
    cv.store("watched", [...watched])
    const row = coins.get(coin)
    if (row) coins.set(coin, {...row})
    refresh()
  }

  window.addEventListener("storage", event => {
    if (event.key !== "cv.watched") return
    readWatched()
    for (const [coin, row] of coins) coins.set(coin, {...row})
    refresh()
  })

  // ---- Heat map: squares by capitalisation, coloured by the change of 24 h.
  const squarify = (items, x, y, width, height) => {
    const placed = []
    let rest = items.filter(item => item.size > 0)
    let total = rest.reduce((sum, item) => sum + item.size, 0)
    while (rest.length) {
      const wide = width >= height
      const side = wide ? height : width
      const scale = (width * height) / total
      let taken = 0
      let sum = 0
      let worst = Infinity
      while (taken < rest.length) {
        const next = sum + rest[taken].size
        const depth = (next * scale) / side
        const ratio = Math.max(...rest.slice(0, taken + 1).map(item => { const length = (item.size * scale) / depth; return Math.max(length / depth, depth / length) }))
        if (ratio > worst) break
        ;[worst, sum, taken] = [ratio, next, taken + 1]
      }
      const depth = (sum * scale) / side
      let at = 0
      for (const item of rest.slice(0, taken)) {
        const length = (item.size * scale) / depth
        placed.push({...item, x: wide ? x : x + at, y: wide ? y + at : y, width: wide ? depth : length, height: wide ? length : depth})
        at += length
      }
      if (wide) { x += depth; width -= depth } else { y += depth; height -= depth }
      total -= sum
      rest = rest.slice(taken)
    }
    return placed
  }
  const tiles = new Map() // those in sight: they stay, with the focus, while prices change
  const drawTile = ({row, x, y, width, height}) => {
    const tile = tiles.get(row.asset) ?? cv.make("button", "", undefined, {type: "button", "data-do": "choose", "data-coin": row.asset})
    if (!tile.firstChild) tile.append(cv.make("b"), cv.make("span", "cv-num"))
    const [symbol, change] = tile.children
    tile.className = `cv-tile cv-tile-${cv.direction(row.change_24h)}`
    tile.title = `${row.name} ${cv.percent(row.change_24h)}`
    tile.style.cssText = `left:${x}px;top:${y}px;width:${width - 2}px;height:${height - 2}px;--heat:${Math.min(1, 0.25 + Math.abs(row.change_24h ?? 0) / 8)}`
    ;[symbol.textContent, change.textContent] = [row.symbol, cv.percent(row.change_24h)]
    return tile
  }
  const drawHeat = () => {
    const [width, height] = [heat.clientWidth, heat.clientHeight]
    if (!width) return
    const items = rows.filter(row => known(row.market_cap)).map(row => ({row, size: Math.sqrt(row.market_cap)})).sort((one, other) => other.size - one.size)
    const placed = squarify(items, 0, 0, width, height)
    const drawn = placed.map(drawTile)
    tiles.clear()
    placed.forEach(({row}, index) => tiles.set(row.asset, drawn[index]))
    if (drawn.length === heat.children.length && drawn.every((tile, index) => tile === heat.children[index])) return
    const focused = drawn.find(tile => tile === document.activeElement)
    heat.replaceChildren(...drawn)
    focused?.focus()
  }
  new ResizeObserver(() => { if (shape === "heat") drawHeat() }).observe(heat)

  // ---- Controls
  const input = document.querySelector(".cv-search input")
  input.addEventListener("input", () => { search = input.value.trim().toLowerCase(); refresh() })
  const leaveSearch = () => (shape === "table" ? place : heat).focus({preventScroll: true})
  input.addEventListener("keydown", event => {
    if (event.key === "Escape") { input.value = search = ""; refresh(); leaveSearch() }
    if (event.key === "Enter" && rows.length) { cv.choose({coin: rows[0].asset}); leaveSearch() }
  })
  document.querySelector(".cv-filter").addEventListener("change", event => { filter = event.target.value; refresh() })
  document.querySelector(".cv-watched").addEventListener("click", event => {
    watchedOnly = !watchedOnly
    event.currentTarget.setAttribute("aria-pressed", watchedOnly)
    refresh()
  })
  for (const button of document.querySelectorAll("[data-shape]")) button.addEventListener("click", () => {
    shape = button.dataset.shape
    for (const each of document.querySelectorAll("[data-shape]")) each.setAttribute("aria-pressed", each === button)
    refresh()
  })
  const list = document.querySelector(".cv-column-list")
  for (const column of COLUMNS.filter(each => !each.fixed)) {
    const label = cv.make("label")
    const box = cv.make("input", "", undefined, {type: "checkbox"})
    box.checked = !hidden.has(column.field)
    box.addEventListener("change", () => {
      for (const field of cv.stored("hidden_columns", [...hidden])) hidden.add(field) // of another tab
      box.checked ? hidden.delete(column.field) : hidden.add(column.field)
      cv.store("hidden_columns", [...hidden])
      table.columns(visible())
    })
    label.append(box, ` ${column.title}`)
    list.append(label)
  }
  let fields = ""
  new ResizeObserver(() => {
    const fitting = visible()
    if (!place.clientWidth || fields === String(fitting.map(column => column.field))) return
    fields = String(fitting.map(column => column.field))
    table.columns(fitting)
  }).observe(place)
  document.addEventListener("cv-chosen", () => { table.draw(); table.reveal(cv.link.coin) })
  document.addEventListener("cv-view", () => refresh())

  const step = by => {
    const at = rows.findIndex(row => row.asset === cv.link.coin)
    const next = rows[Math.min(rows.length - 1, Math.max(0, at + by))]
    if (next) cv.choose({coin: next.asset})
  }
  cv.keys.set("/", ["help_search", () => { cv.view("market"); input.focus() }])
  cv.keys.set("j", ["help_move", () => step(1)])
  cv.keys.set("k", ["help_move", () => step(-1)])
  cv.keys.set("w", ["help_watch", () => watch(cv.link.coin)])
})()
