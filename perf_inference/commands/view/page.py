"""The page of `perf-inference view`: made here as HTML, renewed by a script of some lines, and whole without it too.

All that comes from the graph goes through `report.svg.text`: a caption with a tag in it is text.
"""

from __future__ import annotations

import html
import json
import os
import platform
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from perf_inference.measure.heartbeat import Beat
from perf_inference.report.style import STYLE
from perf_inference.report.svg import text

if TYPE_CHECKING:
    from perf_inference.nodes.view.scene import Scene

_STYLE = """
.images{display:flex;flex-wrap:wrap;gap:1rem;margin:.6rem 0}
figure{margin:0;min-width:min(20rem,100%);flex:1 1 20rem;max-width:48rem}
figure img{width:100%;background:var(--card);border-radius:6px;min-height:8rem;image-rendering:auto}
figcaption{color:var(--dim);font-size:.84rem}
blockquote{margin:.6rem 0;padding:.5rem .9rem;border-left:3px solid var(--c1);font-size:1.25rem}
tbody th{vertical-align:middle}
#state{color:var(--dim)}#state.bad{color:var(--bad)}
.WARN,.STALE{color:var(--warm);font-weight:600}.ERROR{color:var(--bad);font-weight:600}
"""
_SCRIPT = """
"use strict";
const token = new URLSearchParams(location.search).get("token");
const state = document.getElementById("state"), panel = document.getElementById("panel");
const images = document.getElementById("images"), shown = new Map();
const pause = ms => new Promise(done => setTimeout(done, ms));
const ask = (path, more) => fetch(path + "?" + new URLSearchParams({token, ...more}), {cache: "no-store"});
async function visible() { while (document.hidden) await pause(300); }
function say(words, bad) { state.textContent = words; state.className = bad ? "bad" : ""; }
function figures() {
  const topics = JSON.parse(panel.querySelector("[data-topics]")?.dataset.topics ?? "[]");
  for (const [topic, figure] of shown) if (!topics.includes(topic)) { figure.remove(); shown.delete(topic); }
  for (const topic of topics) if (!shown.has(topic)) {
    const figure = document.createElement("figure"), img = document.createElement("img");
    const words = document.createElement("figcaption");
    img.alt = words.textContent = topic;
    figure.append(img, words); images.append(figure); shown.set(topic, figure);
    follow(topic, figure, img, words);
  }
}
async function follow(topic, figure, img, words) {
  let after = 0, drawn = [];
  while (shown.get(topic) === figure) {
    await visible();
    try {
      const answer = await ask("image", {topic, after});
      if (answer.status === 200) {
        after = answer.headers.get("X-Number");
        const before = img.src;
        img.src = URL.createObjectURL(await answer.blob());
        await img.decode().catch(() => {});
        if (before) URL.revokeObjectURL(before);
        const now = performance.now();
        drawn = [...drawn.filter(t => now - t < 2000), now];
        img.dataset.number = after;
        words.textContent = `${topic}, ${img.naturalWidth} x ${img.naturalHeight}, ` +
          `${Math.round(drawn.length / 2)} a second are shown`;
      } else if (answer.status === 204) words.textContent = `${topic}: no new image`;
      else if (answer.status === 422) {
        after = answer.headers.get("X-Number");
        words.textContent = `${topic}: ${await answer.text()}`;
      } else await pause(1000);
    } catch { await pause(1000); }
  }
}
async function renew() {
  let after = 0;
  for (;;) {
    await visible();
    try {
      const answer = await ask("panel", {after});
      if (answer.status === 200 && getSelection().isCollapsed) {
        after = answer.headers.get("X-Number");
        const open = new Set([...panel.querySelectorAll("details[open]")].map(one => one.id));
        panel.innerHTML = await answer.text();
        for (const one of panel.querySelectorAll("details")) one.open = open.has(one.id);
        figures();
        say("live", false);
      } else if (answer.status === 403) return say("the command was started again: open the address it prints", true);
      else if (answer.status !== 204) await pause(500);
      else say("nothing new", false);
    } catch { say("perf-inference view does not answer", true); await pause(1000); }
  }
}
figures();
renew();
"""


def page(panel: str, topics: Iterable[str], token: str, nonce: str) -> str:
    """Return the page around a panel, with the images of these topics; without scripts it renews itself as a whole."""
    images = "".join(
        f'<figure><img alt="{text(topic)}" src="image?{html.escape(urlencode({"topic": topic, "token": token}))}">'
        f"<figcaption>{text(topic)}</figcaption></figure>"
        for topic in topics
    )
    host, domain = platform.node() or "this machine", os.environ.get("ROS_DOMAIN_ID") or "0"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<noscript><meta http-equiv="refresh" content="2"></noscript>'
        f'<title>{text(host)}: perf_inference</title><link rel="icon" href="data:,">'
        f"<style>{STYLE}{_STYLE}</style></head><body>"
        f'<h1>{text(host)}, ROS domain {text(domain)}</h1><p id="state"></p>'
        f'<noscript><div class="images">{images}</div></noscript><div id="images" class="images"></div>'
        f'<div id="panel">{panel}</div><script nonce="{nonce}">{_SCRIPT}</script></body></html>\n'
    )


def panel(scene: Scene) -> str:
    """Return what is renewed: the caption, and tables of nodes, stages and diagnostics."""
    topics = html.escape(json.dumps(list(scene.feeds)))
    parts = (_caption(scene), _nodes(scene), _stages(scene), _diagnostics(scene))
    return f'<div hidden data-topics="{topics}"></div>{"".join(parts)}'


def _caption(scene: Scene) -> str:
    seen = scene.observer
    sees = ", ".join(seen.detections[:20])
    said = f"<blockquote>{text(seen.caption)}</blockquote>" if seen.caption else ""
    return said + (f'<p class="dim">sees {text(sees)}</p>' if sees else "")


def _nodes(scene: Scene) -> str:
    seen = scene.observer
    if not seen.heartbeats:
        return '<h2>Nodes</h2><p class="dim">No node has been heard yet: is this the ROS domain of the robot?</p>'
    rows = []
    for name, beat in sorted(seen.heartbeats.items()):
        said = beat.said
        figures = (said.rate_hz, said.latency_p50_ms, said.latency_p90_ms, said.latency_max_ms)
        cells = [_number(value) for value in figures]
        counts = (said.inferences, seen.dropped.get(name), said.residual if said.inputs else None)
        cells += ["-" if value is None else str(value) for value in counts]
        rows.append(_row(name, cells, _state(beat)))
    header = ("node", "Hz", "p50 ms", "p90 ms", "max ms", "inferences", "drops", "residual", "state")
    return f"<h2>Nodes, by their last heartbeats</h2>{_table('nodes', header, rows)}"


def _state(beat: Beat) -> str:
    silent_s = time.monotonic() - beat.heard_s
    if silent_s > 2:
        return f'<td class="t STALE">silent for {silent_s:.0f} s</td>'
    return f'<td class="t wrap {"OK" if beat.ok else "WARN"}">{text(beat.message)}</td>'


def _stages(scene: Scene) -> str:
    timings = sorted(scene.observer.timings.items())
    names = list(dict.fromkeys(stage for _, one in timings for stage in one.stages))
    rows = []
    for node, one in timings:
        medians = [one.stages[name].percentile_ns(50.0) if name in one.stages else None for name in names]
        rows.append(_row(node, [_number(None if median is None else median / 1e6) for median in medians]))
    lead = '<p class="lead">Median [ms] of all timings that were heard, where there are enough of them.</p>'
    return f"<h2>Stages</h2>{lead}{_table('stages', ('node', *names), rows)}" if rows else ""


def _diagnostics(scene: Scene) -> str:
    if not scene.diagnostics:
        return ""
    rows = []
    for number, (name, one) in enumerate(sorted(scene.diagnostics.items())):
        values = "".join(f"<div>{text(key)} <b>{text(value)}</b></div>" for key, value in one.values)
        more = f'<details id="d{number}"><summary>{text(one.message)}</summary>{values}</details>'
        cells = f'<td class="t {one.level}">{one.level}</td><td class="t wrap">{more}</td>'
        rows.append(_row(name, (), cells))
    return f"<h2>Diagnostics</h2>{_table('diagnostics', ('name', 'level', 'message'), rows)}"


def _row(name: str, cells: Iterable[str], more: str = "") -> str:
    return f'<tr><th scope="row">{text(name)}</th>{"".join(f"<td>{text(cell)}</td>" for cell in cells)}{more}</tr>'


def _table(name: str, header: Sequence[str], rows: Iterable[str]) -> str:
    words = ("state", "level", "message")
    head = "".join(f'<th scope="col"{" class=t" if one in words else ""}>{text(one)}</th>' for one in header)
    return (
        f'<div class="wide"><table id="{name}"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody>'
        "</table></div>"
    )


def _number(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, int | float) and not isinstance(value, bool) else "-"
