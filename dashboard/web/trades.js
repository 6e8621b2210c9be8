// The tape of the Trades page: the newest trades above. Prices and sizes are the venue's text.
(() => {
  const cv = window.cv
  const t = cv.t
  const place = document.querySelector(".cv-tape")
  if (!place) return // no streams
  let body = null
  const clock = ms => cv.time(ms, {hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3})
  const make = currency => {
    const table = cv.make("table", "cv-table cv-tape-table")
    const head = cv.make("tr")
    for (const [words, classes] of [[t("tr_time"), ""], [t("tr_side"), ""], [`${t("tr_price")} ${currency}`, "cv-right"], [t("tr_size"), "cv-right"], [t("tr_id"), "cv-right cv-wide-only"]]) head.append(cv.make("th", classes, words, {scope: "col"}))
    const top = cv.make("thead")
    top.append(head)
    body = cv.make("tbody")
    table.append(top, body)
    place.replaceChildren(table)
  }
  const row = ([number, at, bought, price, size, id, refilled]) => {
    const made = cv.make("tr", bought ? "cv-buy" : "cv-sell", undefined, {"data-number": number, "data-trade": id})
    const time = cv.make("td", "cv-num", clock(at), {"data-ms": at})
    const side = cv.make("td", `cv-side cv-${bought ? "up" : "down"}`, bought ? `▲ ${t("tr_buy")}` : `▼ ${t("tr_sell")}`)
    if (refilled) side.append(" ", cv.make("span", "cv-badge cv-fallback", "HTTP", {title: t("tr_refill_mark")}))
    made.append(time, side, cv.make("td", `cv-right cv-num cv-tape-price cv-${bought ? "up" : "down"}`, price), cv.make("td", "cv-right cv-num cv-tape-size", size), cv.make("td", "cv-right cv-num cv-muted cv-wide-only", id))
    return made
  }
  cv.part("trades.tape", ({whole, rows, most, currency}) => {
    if (whole || !body) {
      if (whole && !rows.length) {
        body = null
        const empty = cv.make("div", "cv-state")
        empty.append(cv.make("b", "", t("tr_waiting")))
        return place.replaceChildren(empty)
      }
      make(currency)
    }
    body.prepend(...rows.map(row))
    while (body.rows.length > most) body.lastElementChild.remove()
  })
  document.addEventListener("cv-clock", () => place.querySelectorAll("td[data-ms]").forEach(cell => { cell.textContent = clock(Number(cell.dataset.ms)) }))
})()
