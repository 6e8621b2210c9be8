// The candle chart, with TradingView's lightweight-charts, loaded when the first candles come.
(() => {
  const cv = window.cv
  const MODES = {normal: 0, log: 1, percent: 2}
  const AVERAGES = [[20, "#f5a524"], [50, "#8b5cf6"]]
  const PALETTE = ["#2563eb", "#d97706", "#059669", "#c026d3", "#0891b2", "#dc2626", "#65a30d", "#7c3aed"]
  const MOST_MARKS = 1000
  const MOST_MISSING = 5000 // candles of a gap that are drawn as a gap
  const [FALLBACK, DISAGREED, MISSING, HALTED] = [1, 2, 4, 8]
  const BARS = 90
  const color = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim()

  let library = null
  const load = () => (library ??= new Promise((done, failed) => {
    const script = cv.make("script", "", undefined, {src: cv.first.chart})
    script.addEventListener("load", () => done(window.LightweightCharts))
    script.addEventListener("error", failed)
    document.head.append(script)
  }))

  // A row is [start in ms, open, high, low, close, volume (see views/candles.py), ticks, marks].
  cv.candleChart = async (place, {legend, older}) => {
    const L = await load()
    const chart = L.createChart(place, {
      autoSize: true,
      layout: {attributionLogo: false, background: {color: "transparent"}, fontSize: 11, fontFamily: "inherit", panes: {separatorColor: "transparent", enableResize: false}},
      crosshair: {mode: L.CrosshairMode.Normal},
      rightPriceScale: {borderVisible: false, scaleMargins: {top: 0.08, bottom: 0.06}},
      timeScale: {borderVisible: false, timeVisible: true, secondsVisible: false, rightOffset: 4, minBarSpacing: 0.05, tickMarkFormatter: (time, type) => mark(time * 1000, type)},
      localization: {timeFormatter: time => cv.time(time * 1000, {dateStyle: "short", timeStyle: "short"})},
      handleScroll: {vertTouchDrag: false},
    })
    const mark = (ms, type) => {
      const parts = [{year: "numeric"}, {month: "short", year: "2-digit"}, {day: "numeric", month: "short"}, {hour: "2-digit", minute: "2-digit"}, {hour: "2-digit", minute: "2-digit", second: "2-digit"}][type]
      return cv.time(ms, parts)
    }
    const candles = chart.addSeries(L.CandlestickSeries, {borderVisible: false, priceLineVisible: true})
    const volume = chart.addSeries(L.HistogramSeries, {priceLineVisible: false, lastValueVisible: false, priceFormat: {type: "custom", formatter: value => cv.compact(value, ""), minMove: 1}}, 1)
    chart.panes()[1].setHeight(84)
    const marks = L.createSeriesMarkers(candles, [])
    const line = (lineColor, options = {}) => chart.addSeries(L.LineSeries, {color: lineColor, lineWidth: 1, priceLineVisible: false, lastValueVisible: false, crosshairMarkerVisible: false, ...options})
    let rows = []
    let stored = new Map() // start to marks of ticks in the lake
    let places = 0 // candles and places of missing ones
    let step = 60_000
    let currency = ""
    let traded = false
    let mode = "normal"
    let more = false
    let asked = -1
    let averages = null
    let other = null
    let overlay = []

    const paint = () => {
      const [up, down, muted, grid] = ["--cv-up", "--cv-down", "--cv-muted", "--cv-line"].map(color)
      chart.applyOptions({layout: {textColor: muted}, grid: {vertLines: {color: grid}, horzLines: {color: grid}}})
      candles.applyOptions({upColor: up, downColor: down, wickUpColor: up, wickDownColor: down})
      volume.setData(volumes(rows))
      drawMarks()
    }
    const seconds = row => row[0] / 1000
    const candle = row => ({time: seconds(row), open: row[1], high: row[2], low: row[3], close: row[4]})
    const bar = row => ({time: seconds(row), value: row[5], color: color(row[4] >= row[1] ? "--cv-up-bar" : "--cv-down-bar")})
    const volumes = some => {
      const [up, down] = [color("--cv-up-bar"), color("--cv-down-bar")]
      return some.map(row => (row[5] === null ? {time: seconds(row)} : {time: seconds(row), value: row[5], color: row[4] >= row[1] ? up : down}))
    }
    // A candle without ticks is a place without a candle.
    const withGaps = some => {
      const points = []
      some.forEach((row, index) => {
        if (index) {
          const missing = Math.min(MOST_MISSING, Math.round((row[0] - some[index - 1][0]) / step) - 1)
          for (let each = 1; each <= missing; each++) points.push({time: (some[index - 1][0] + each * step) / 1000})
        }
        points.push(candle(row))
      })
      return points
    }
    const drawCandles = () => {
      const points = withGaps(rows)
      places = points.length
      candles.setData(points)
      volume.setData(volumes(rows))
    }
    const marksOf = row => row[7] | (stored.get(row[0]) ?? 0)
    const drawMarks = () => {
      const [warn, info, bad, muted] = ["--cv-warn", "--cv-info", "--cv-down", "--cv-muted"].map(color)
      const marked = rows.map(row => [seconds(row), marksOf(row)]).filter(([, found]) => found)
      marks.setMarkers(marked.slice(-MOST_MARKS).flatMap(([time, found]) => [
        ...(found & FALLBACK ? [{time, position: "belowBar", shape: "circle", size: 0.6, color: warn}] : []),
        ...(found & DISAGREED ? [{time, position: "aboveBar", shape: "square", size: 0.6, color: info}] : []),
        ...(found & MISSING ? [{time, position: "belowBar", shape: "arrowUp", size: 0.8, color: bad}] : []),
        ...(found & HALTED ? [{time, position: "aboveBar", shape: "arrowDown", size: 0.8, color: muted}] : []),
      ]))
    }
    const average = (count, from = 0) => {
      const points = []
      let sum = 0
      for (let index = Math.max(0, from - count); index < rows.length; index++) {
        sum += rows[index][4]
        if (index - Math.max(0, from - count) >= count) sum -= rows[index - count][4]
        if (index >= Math.max(from, count - 1)) points.push({time: seconds(rows[index]), value: sum / count})
      }
      return points
    }
    const drawAverages = () => averages?.forEach(({series, count}) => series.setData(average(count)))
    const scale = () => candles.priceScale().applyOptions({mode: MODES[other ? "percent" : mode]})
    // The newest candle while the crosshair is nowhere; of a place without a candle, only when that is.
    const say = row => {
      const said = row ?? rows.at(-1)
      legend(said ? [...said.slice(0, 7), marksOf(said)] : null, currency, traded)
    }
    const at = time => {
      const row = rows.find(each => seconds(each) === time)
      row ? say(row) : legend(null, currency, traded, time * 1000)
    }

    chart.subscribeCrosshairMove(({time}) => (time === undefined ? say(null) : at(time)))
    chart.timeScale().subscribeVisibleLogicalRangeChange(range => {
      if (range && range.from < 20 && more && asked !== rows.length && rows.length) { asked = rows.length; older() }
    })
    const toNow = () => {
      const last = places - 1
      chart.timeScale().setVisibleLogicalRange({from: last - Math.min(BARS, Math.max(30, last + 4)), to: last + 4})
    }

    // What is drawn now is no scrolling back.
    const later = hasMore => {
      more = false
      setTimeout(() => { more = hasMore }, 300)
    }
    const rowsOf = columns => (columns[0] ?? []).map((_, index) => columns.map(column => column[index]))
    const before = columns => {
      if (!columns[0]?.length) return
      const few = rows.length < BARS
      const place_ = chart.timeScale().getVisibleRange()
      rows = [...rowsOf(columns), ...rows]
      drawCandles()
      drawMarks()
      drawAverages()
      if (few) toNow()
      else if (place_) chart.timeScale().setVisibleRange(place_)
    }

    const self = {
      toNow,
      whole: ({columns, step: width, currency: quoted, traded: fromTrades, more: hasMore}, moved) => {
        traded = fromTrades
        const few = rows.length < BARS // fewer than fit: there is no place to keep
        const place_ = moved ? null : chart.timeScale().getVisibleRange()
        rows = rowsOf(columns)
        stored = new Map()
        ;[step, currency] = [width, quoted]
        later(hasMore)
        const price = rows.at(-1)?.[4] ?? 1
        const minMove = 10 ** Math.min(-2, Math.floor(Math.log10(price)) - 4)
        candles.applyOptions({priceFormat: {type: "custom", formatter: value => (other ? cv.share(value) : cv.price(value, currency)), minMove}})
        chart.timeScale().applyOptions({timeVisible: step < 86_400_000})
        drawCandles()
        drawMarks()
        drawAverages()
        if (moved || few) toNow()
        else if (place_) chart.timeScale().setVisibleRange(place_)
        say(null)
      },
      change: ({older, tail: changed, more: hasMore}) => {
        if (older[0]?.length || hasMore !== more) later(hasMore)
        before(older)
        const newest = rows.length ? seconds(rows.at(-1)) : 0
        for (const row of changed) {
          const at = rows.findLastIndex(each => each[0] <= row[0])
          const known = at >= 0 && rows[at][0] === row[0]
          const last = rows.at(-1)
          if (known) rows[at] = row
          else {
            if (last && row[0] - last[0] > step) { rows.push(row); drawCandles(); continue }
            rows.push(row)
            places++
          }
          const old = known && at < rows.length - 1
          candles.update(candle(row), old)
          if (row[5] !== null) volume.update(bar(row), old)
        }
        if (changed.some(row => row[7])) drawMarks()
        // Also of the candle before the last, which a change of the minute completes.
        const from = rows.findLastIndex(row => row[0] < (changed[0]?.[0] ?? Infinity)) + 1
        averages?.forEach(({series, count}) => average(count, from).forEach(point => series.update(point, point.time < newest)))
        say(null)
      },
      marked: found => {
        stored = new Map(found)
        drawMarks()
        say(null)
      },
      averages: on => {
        averages?.forEach(({series}) => chart.removeSeries(series))
        averages = on ? AVERAGES.map(([count, paint_]) => ({count, series: line(paint_, {title: String(count)})})) : null
        drawAverages()
      },
      log: on => { mode = on ? "log" : "normal"; scale() },
      compare: found => {
        if (other) chart.removeSeries(other.series)
        other = null
        if (found?.closes.length) {
          other = {...found, series: line("#2563eb", {lineWidth: 2, lastValueVisible: true, title: found.coin})}
          other.series.setData(found.closes.map(([start, close]) => ({time: start / 1000, value: close})))
        }
        scale()
      },
      otherPrice: (coin, quoted, price, tick) => {
        const time = Math.floor(tick / step) * step / 1000
        if (other?.coin === coin && other.currency === quoted && time >= other.series.data().at(-1).time) other.series.update({time, value: price})
      },
      overlay: found => {
        for (const series of overlay) chart.removeSeries(series)
        overlay = []
        if (!found) return []
        const muted = color("--cv-muted")
        for (const [at, options] of [[1, {lineStyle: L.LineStyle.Solid}], [2, {lineStyle: L.LineStyle.Dotted}], [3, {lineStyle: L.LineStyle.Dotted}]]) {
          const series = line(muted, options)
          series.setData(found.band.map(point => ({time: point[0] / 1000, value: point[at]})))
          overlay.push(series)
        }
        found.providers.forEach(([, points], index) => {
          const series = line(PALETTE[index % PALETTE.length], {lineVisible: false, pointMarkersVisible: true, pointMarkersRadius: 2})
          series.setData(points.map(([start, value]) => ({time: start / 1000, value})))
          overlay.push(series)
        })
        return found.providers.map(([name], index) => [name, PALETTE[index % PALETTE.length]])
      },
      paint,
      // What is drawn, for tests.
      drawn: () => ({
        count: rows.length,
        get candles() { return candles.data() },
        get averages() { return averages?.map(({series}) => series.data()) },
        get other() { return other?.series.data() },
        get mode() { return candles.priceScale().options().mode },
        get volume() { return volume.data() },
        get marks() { return marks.markers() },
        get overlay() { return overlay.map(series => series.data()) },
        get range() { return chart.timeScale().getVisibleLogicalRange() },
        get x() { return Object.fromEntries(candles.data().map(({time}) => [time * 1000, chart.timeScale().timeToCoordinate(time)])) },
      }),
    }
    paint()
    document.addEventListener("cv-theme", paint)
    document.addEventListener("cv-clock", () => {
      chart.timeScale().applyOptions({}) // forgets the labels that it has written
      chart.applyOptions({})
      say(null)
    })
    return self
  }
})()
