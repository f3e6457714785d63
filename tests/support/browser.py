"""A real browser, and what it finds wrong with a page: contrast, names, headings, width."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page, ViewportSize

EXECUTABLE = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
)
PHONE: ViewportSize = {"width": 390, "height": 844}
DESK: ViewportSize = {"width": 1280, "height": 900}


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """A page in a profile of its own. Fails if anything was written to its console, or thrown in it."""
    context = browser.new_context(**options)
    page = context.new_page()
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.goto(url)
    yield page
    context.close()
    assert heard == []


def faults(page: Page) -> list[str]:
    """What keeps people from reading or using the page (WCAG 2.2: 1.3.1, 1.4.3, 1.4.10, 2.4.2, 2.5.8, 4.1.2)."""
    found: list[str] = page.evaluate(_AUDIT)
    return found


_AUDIT = r"""
() => {
  const faults = [];
  const shown = (e) => e.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const all = (selector) => [...document.querySelectorAll(selector)].filter(shown);
  const name = (e) => {
    const labelled = (e.getAttribute("aria-labelledby") || "").split(" ").filter(Boolean);
    if (labelled.length) return labelled.map((id) => document.getElementById(id)?.textContent || "").join(" ").trim();
    return (e.getAttribute("aria-label") || e.textContent || "").trim();
  };

  const colour = (text) => {
    const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
    return { r, g, b, a };
  };
  const over = (top, under) => ({
    r: top.r * top.a + under.r * (1 - top.a),
    g: top.g * top.a + under.g * (1 - top.a),
    b: top.b * top.a + under.b * (1 - top.a),
    a: 1,
  });
  const ground = (e) => {
    const layers = [];
    for (let at = e; at; at = at.parentElement) {
      const one = colour(getComputedStyle(at).backgroundColor);
      layers.push(one);
      if (one.a === 1) break;
    }
    return layers.reverse().reduce((under, top) => over(top, under), { r: 255, g: 255, b: 255, a: 1 });
  };
  const luminance = ({ r, g, b }) => {
    const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const e = node.parentElement;
    if (!node.textContent.trim() || !shown(e) || e.closest("script, noscript, title, .skip")) continue;
    const style = getComputedStyle(e);
    const under = ground(e);
    const ink = over(colour(e.namespaceURI.endsWith("svg") ? style.fill : style.color), under);
    const [a, b] = [luminance(ink), luminance(under)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if ((a + 0.05) / (b + 0.05) < (large ? 3 : 4.5)) {
      faults.push(`contrast ${((a + 0.05) / (b + 0.05)).toFixed(2)}: ${node.textContent.trim().slice(0, 40)}`);
    }
    if (size < 9.5) faults.push(`text of ${size}px: ${node.textContent.trim()}`);
  }

  if (document.documentElement.lang !== "en") faults.push("no language");
  if (!document.title) faults.push("no title");
  if (all("main").length !== 1) faults.push("not one main");
  if (all("h1").length !== 1) faults.push("not one h1");
  let level = 0;
  for (const heading of all("h1, h2, h3, h4")) {
    const next = Number(heading.tagName[1]);
    if (next > level + 1) faults.push(`h${level} is followed by h${next}: ${heading.textContent}`);
    level = next;
  }
  for (const e of all("a, button, section, nav, [role=img]")) if (!name(e)) faults.push(`no name: ${e.outerHTML}`);
  for (const e of all("input:not([type=hidden])")) if (!e.labels.length) faults.push(`no label: ${e.outerHTML}`);
  for (const e of all(".run, button, .jumps a, .links a")) {
    const { width, height } = e.getBoundingClientRect();
    if (Math.min(width, height) < 24) faults.push(`hard to hit (${width} x ${height}): ${e.textContent}`);
  }
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  for (const id of new Set(ids)) if (ids.filter((one) => one === id).length > 1) faults.push(`id twice: ${id}`);
  for (const e of document.querySelectorAll("a[href^='#']")) {
    if (!document.querySelector(e.getAttribute("href"))) faults.push(`leads nowhere: ${e.outerHTML}`);
  }
  const wide = document.scrollingElement.scrollWidth;
  if (wide > innerWidth) faults.push(`${wide}px wide on a screen of ${innerWidth}px`);
  return faults;
}
"""
