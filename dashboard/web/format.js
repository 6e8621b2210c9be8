// Numbers of any size, by the language; views/numbers.py writes the same. Unknown is an em dash, never 0.
(() => {
  const cv = window.cv
  const locale = cv.language === "fr" ? "fr-FR" : "en-US"
  const signs = {USD: "$", USDT: "₮", EUR: "€", GBP: "£"}
  // A billion is "B" here and "Md" there, where "B" would be read as a thousand times as much.
  const SUFFIXES = cv.language === "fr" ? ["\u202fBn", "\u202fMd", "\u202fM", "\u202fk"] : ["T", "B", "M", "K"]
  const FLAT_BELOW = 0.005 // shown as 0.00
  const formats = new Map()
  const format = (value, decimals) => {
    if (!formats.has(decimals)) formats.set(decimals, new Intl.NumberFormat(locale, {minimumFractionDigits: decimals, maximumFractionDigits: decimals}))
    return formats.get(decimals).format(value)
  }
  const sign = currency => (currency in signs ? signs[currency] : currency ? `${currency} ` : "")
  const known = value => typeof value === "number" && Number.isFinite(value)
  const decimals = size => (size >= 1000 ? 2 : size >= 1 ? 4 : size >= 0.1 ? 5 : size >= 0.01 ? 6 : size >= 0.001 ? 7 : size === 0 ? 2 : Math.min(20, 4 - Math.floor(Math.log10(size))))
  const exponent = size => size.toExponential(4).replace(/\.?0+e/, "e")

  cv.price = (value, currency = "") => {
    if (!known(value)) return "—"
    const size = Math.abs(value)
    if (size >= 1e9) return cv.compact(value, currency)
    const shown = size > 0 && size < 1e-8 ? exponent(size) : format(size, decimals(size))
    return `${value < 0 ? "−" : ""}${sign(currency)}${shown}`
  }
  cv.compact = (value, currency = "") => {
    if (!known(value)) return "—"
    const size = Math.abs(value)
    const minus = value < 0 ? "−" : ""
    for (const [index, from] of [1e12, 1e9, 1e6, 1e3].entries()) {
      if (size >= from * 0.999995) return `${minus}${sign(currency)}${format(size / from, 2)}${SUFFIXES[index]}`
    }
    return size > 0 && size < 0.01 ? cv.price(value, currency) : `${minus}${sign(currency)}${format(size, 2)}`
  }
  // The direction of a change, of what is shown: 0.004 % is flat.
  cv.direction = percent => {
    if (!known(percent)) return "none"
    return Math.abs(percent) < FLAT_BELOW ? "flat" : percent > 0 ? "up" : "down"
  }
  cv.percent = percent => {
    const way = cv.direction(percent)
    if (way === "none") return "—"
    return `${{up: "▲ +", down: "▼ −", flat: "■ "}[way]}${format(Math.abs(percent), 2)}%`
  }
  cv.share = percent => (known(percent) ? `${percent < 0 ? "−" : ""}${format(Math.abs(percent), 2)}%` : "—")
  cv.bps = value => (known(value) ? format(value, 1) : "—")
  cv.count = value => (known(value) ? format(Math.round(value), 0) : "—")
})()
