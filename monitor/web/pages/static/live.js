// Keeps a page up to date: the status page from the stream of its parts, every other one by loading itself again.
"use strict";
(() => {
  const main = document.querySelector("main[data-live]");
  const connection = document.getElementById("connection");
  const REFETCH = 10_000;
  const SILENCE = 20_000;
  let ahead = 0;
  let heard = Date.now();
  let source = null;
  let timer = null;

  const now = () => Date.now() + ahead;

  function length(milliseconds) {
    const seconds = Math.max(0, Math.floor(milliseconds / 1000));
    const minutes = Math.floor(seconds / 60);
    const hours = Math.floor(minutes / 60);
    if (minutes === 0) return `${seconds} s`;
    if (hours === 0) return `${minutes} min`;
    if (hours < 24) return `${hours} h ${minutes % 60} min`;
    return `${Math.floor(hours / 24)} d ${hours % 24} h`;
  }

  function age() {
    for (const time of document.querySelectorAll("time[data-ago]")) {
      const text = `${length(now() - Date.parse(time.dateTime))} ago`;
      if (time.textContent !== text) time.textContent = text;
    }
  }

  function hear(serverNow) {
    ahead = serverNow - Date.now();
    heard = Date.now();
    connection.hidden = true;
  }

  function check() {
    if (Date.now() - heard < SILENCE || !connection.hidden) return;
    const since = new Date(heard + ahead).toISOString().slice(11, 19);
    connection.textContent = `Not connected: what you see is as of ${since} UTC.`;
    connection.hidden = false;
  }

  // Text that is being selected, and the focus, outlive the exchange of the part that they are in.
  function show(id, html) {
    const part = document.getElementById(id);
    if (!part) return;
    const selection = getSelection();
    if (!selection.isCollapsed && part.contains(selection.anchorNode)) return;
    const focused = part.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    part.innerHTML = html;
    if (focused) part.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }

  function apply(told) {
    hear(told.now);
    for (const [id, html] of Object.entries(told.parts)) show(id, html);
    if (told.title && document.title !== told.title) document.title = told.title;
    const icon = document.querySelector("link[rel=icon]");
    if (told.icon && icon.getAttribute("href") !== told.icon) icon.setAttribute("href", told.icon);
    age();
  }

  async function refetch() {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.redirected) return location.reload();
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const parts = {};
    for (const part of page.querySelectorAll("[data-part]")) parts[part.id] = part.innerHTML;
    apply({
      now: Number(page.querySelector("main").dataset.now),
      parts,
      title: page.title,
      icon: page.querySelector("link[rel=icon]").getAttribute("href"),
    });
  }

  function again() {
    clearTimeout(timer);
    timer = setTimeout(start, REFETCH);
  }

  function start() {
    stop();
    if (main.dataset.live === "stream") {
      source = new EventSource("/events");
      source.addEventListener("board", (event) => apply(JSON.parse(event.data)));
      // Refused for good: this browser is not signed in any more, or too many look. The page itself can still be loaded.
      source.onerror = () => {
        if (source.readyState === EventSource.CLOSED) refetch().catch(() => {}).finally(again);
      };
    } else {
      refetch().catch(() => {}).finally(again);
    }
  }

  function stop() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  hear(Number(main.dataset.now));
  age();
  setInterval(() => { age(); check(); }, 1000);
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
  if (main.dataset.live === "stream") start();
  else again();
})();
